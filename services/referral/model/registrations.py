"""Registrations, attempts and attributions."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.referral.model.codes import Code
from services.referral.model.risk import UNSEEN, Client
from services.referral.model.standings import Standing


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
    client: Client = UNSEEN


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
    same_wallet: bool = False


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
