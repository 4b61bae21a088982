"""What referral speaks of: codes, registrations, attempts, standings."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class CodeState(StrEnum):
    """active → expired | revoked."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class EndReason(StrEnum):
    """Why a code is no longer active: the first two expired it, the others revoked it."""

    TIME = "time"
    USES = "uses"
    OWNER = "owner"
    OPERATOR = "operator"


class Standing(StrEnum):
    """Graduated sanctions, mildest first."""

    GOOD = "good"
    WARNED = "warned"
    BONUSES_ON_HOLD = "bonuses_on_hold"
    SUSPENDED = "suspended"
    FORFEITED = "forfeited"


class Kind(StrEnum):
    """How an account came: through a code, or by itself."""

    REFERRED = "referred"
    ORGANIC = "organic"


class Outcome(StrEnum):
    """What came of an attempt to register."""

    BOUND = "bound"
    ALREADY_BOUND = "already_bound"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Code:
    """A referral code; `max_uses` and `expires_at` are None for no limit."""

    code_ref: uuid.UUID
    code: str
    owner_ref: uuid.UUID
    created_at: datetime
    expires_at: datetime | None = None
    max_uses: int | None = None
    uses: int = 0
    state: CodeState = CodeState.ACTIVE
    ended_at: datetime | None = None
    end_reason: EndReason | None = None


@dataclass(frozen=True, slots=True)
class CodeWish:
    """What an owner asks of a new code; `vanity` is None for a random one."""

    vanity: str | None = None
    expires_at: datetime | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """The one row that decides who brought an account; referrer, code and channel are None for an organic one."""

    referee_ref: uuid.UUID
    kind: Kind
    created_at: datetime
    referrer_ref: uuid.UUID | None = None
    code_ref: uuid.UUID | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class SignUp:
    """A request to register; `account_created_at` is None when the token did not say."""

    account_id: str
    code: str
    account_created_at: datetime | None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """The answer to a registration. It never names the referrer."""

    already_bound: bool
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision on a registration rests on, read under the locks of the referee and of the code."""

    referee_ref: uuid.UUID
    binding: Registration | None
    code: Code | None
    standing: Standing
    bindings_in_window: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of the attribution log."""

    referee_ref: uuid.UUID
    code_typed: str
    code_ref: uuid.UUID | None
    channel: str | None
    outcome: Outcome
    reason: str | None
    attempted_at: datetime


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who brought an account, by its outside id; `referrer_ref` is None for an organic one."""

    account_id: str
    account_ref: uuid.UUID
    referrer_ref: uuid.UUID | None
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """Standing of an account; revision 0 is the standing nobody ever changed."""

    standing: Standing = Standing.GOOD
    reason: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many referees of one referrer got how far."""

    registered: int
    window_ended: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a registration."""

    account_age: timedelta = timedelta(hours=24)
    clock_skew: timedelta = timedelta(minutes=5)
    bindings_per_code: int = 10
    velocity_window: timedelta = timedelta(hours=1)
