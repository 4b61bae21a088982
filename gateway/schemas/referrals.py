from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from gateway.schemas.wire import Count, Instant, Micro, Reply, Request

CodeState = Literal["active", "expired", "revoked"]
Channel = Annotated[str, Meta(pattern="^[a-z0-9_-]{1,32}$", description="Where the code was seen: `discord`, `x`, …")]
BonusState = Literal["pending", "withheld", "granted", "denied"]


class CreateCode(Request):
    """Wishes for a code; all of them may be left out."""

    vanity_code: Annotated[
        str | None, Meta(description="8 to 12 letters and digits; a random code where it is left out.")
    ] = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    max_uses: Annotated[int, Meta(ge=0, le=1_000_000_000, description="0 for no limit.")] | None = None


class Code(Reply):
    """A referral code."""

    code: str
    state: CodeState
    uses: Count
    max_uses: Count | None
    created_at: Instant
    expires_at: Instant | None


class Register(Request):
    """A sign-up that came with a code."""

    code: Annotated[str, Meta(min_length=1, max_length=64, description="Upper and lower case are the same.")]
    channel: Channel | None = None


class Registered(Reply):
    """The account's binding."""

    already_bound: Annotated[bool, Meta(description="Whether it was bound before; nothing has changed then.")]
    registered_at: Instant


class BonusCount(Reply):
    """Signup bonuses in one state."""

    state: BonusState
    count: Count
    amount_micro: Micro


class ReferralStats(Reply):
    """Totals over all referees; none is named or isolated."""

    registered: Annotated[int, Meta(ge=0, description="Referees ever bound.")]
    qualified: Annotated[int, Meta(ge=0, description="Of them, those with a qualifying action.")]
    paying: Annotated[int, Meta(ge=0, description="Of them, those with a paid charge ever.")]
    active: Annotated[int, Meta(ge=0, description="Of them, those with a paid charge within 30 days.")]
    window_ended: Annotated[int, Meta(ge=0, description="Of them, those whose 12-month window has ended.")]
    bonuses: list[BonusCount]
