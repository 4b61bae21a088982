"""Bodies of the routes that exist in test mode alone."""

from typing import Annotated

from msgspec import Meta

from gateway.schemas.wire import AccountId, Instant, Reply, Request

MAX_ADVANCE_SECONDS = 400 * 86_400


class AskToken(Request):
    """Whom the token is for."""

    account_id: AccountId
    scope: Annotated[str, Meta(max_length=512, pattern="^[!-~ ]*$", description="Space separated.")] = "creator"
    account_created_at: Annotated[
        str | int | None, Meta(description="RFC 3339 or epoch seconds; the clock's now where it is left out.")
    ] = None


class DevToken(Reply):
    """A bearer token that stays valid when the clock is moved."""

    token: str


class Advance(Request):
    """How far to move the clock."""

    seconds: Annotated[int, Meta(ge=1, le=MAX_ADVANCE_SECONDS)]


class Now(Reply):
    """What all processes of the stack take for the present."""

    now: Instant
