"""What all bodies share. A request refuses what it does not know; an answer always has all its members."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct


class Request(Struct, forbid_unknown_fields=True):
    """A body or a query that comes in."""


class Query(Request):
    """Parameters, where a body could come as well."""


class Reply(Struct):
    """A body that goes out."""


Micro = Annotated[
    str,
    Meta(pattern="^-?[0-9]{1,19}$", description="An amount in micro-USD, as a decimal string.", examples=["4500000"]),
]
Amount = Annotated[
    str,
    Meta(
        # The look ahead refuses a line's end, which `$` lets pass in some languages.
        pattern=r"^(0|[1-9][0-9]{0,15})$(?!\n)",
        description="An amount in micro-USD, as a decimal string without sign or leading zeros.",
        examples=["4500000"],
    ),
]
Count = Annotated[int, Meta(ge=0)]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339, in UTC.")]
AccountId = Annotated[str, Meta(min_length=1, max_length=128, pattern="^[ -~]+$", description="Printable ASCII.")]
Cursor = Annotated[
    str,
    Meta(
        min_length=1, max_length=1024, pattern="^[!-~]+$", description="Opaque: `next_page_token` of the page before."
    ),
]


def micro(amount: int) -> str:
    """An amount as it is written in JSON: exact in every language."""
    return str(amount)
