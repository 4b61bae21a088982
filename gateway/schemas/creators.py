from typing import Annotated

from msgspec import Meta

from gateway.schemas.wire import Instant, Reply, Request

Name = Annotated[str, Meta(max_length=128, description="3 to 32 characters; null or empty goes back to the pseudonym.")]


class SetProfile(Request):
    """What others may see of the account."""

    display_name: Name | None


class Profile(Reply):
    """What others see of the account."""

    display_name: str | None
    pseudonym: Annotated[str, Meta(description="What is shown where no name is; empty for an account that is new.")]
    updated_at: Instant | None
