"""Erasures of accounts."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ErasureState(StrEnum):
    """requested → spreading → done."""

    REQUESTED = "requested"
    SPREADING = "spreading"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Report:
    """What one service removed."""

    service: str
    rows: int
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure of one account; `waits_for` says why a requested one does not go on."""

    erasure_id: uuid.UUID
    account_ref: uuid.UUID
    forfeit_consent: bool
    requested_at: datetime
    next_try_at: datetime
    state: ErasureState = ErasureState.REQUESTED
    waits_for: str = ""
    spread_at: datetime | None = None
    done_at: datetime | None = None
    reports: Sequence[Report] = field(default=())


@dataclass(frozen=True, slots=True)
class Money:
    """What of an account's money is in the way of its erasure."""

    open_payout: bool
    unpaid_micro: int
