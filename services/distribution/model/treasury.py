"""Nouns of the treasury: the reserve, who changes it, and the switch that stops payouts."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple


class ReserveDirection(IntEnum):
    """Which way reserve money moves; numbered as in the API."""

    TOP_UP = 1
    WITHDRAWAL = 2


class ReserveChangeState(IntEnum):
    """requested → approved | rejected; numbered as in the API."""

    REQUESTED = 1
    APPROVED = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class ReserveChange:
    """A request to move reserve money; what is decided later is None before."""

    reserve_change_id: str
    direction: ReserveDirection
    amount_micro: int
    state: ReserveChangeState
    requested_by: str
    decided_by: str | None
    reason: str
    decision_reason: str | None
    transfer_id: str | None
    requested_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class PayoutsSwitch:
    """Whether payouts are held and burned. `reserve_wrong`: an audit said so, and nobody resumes before it is right."""

    paused: bool
    operator_id: str
    reason: str
    changed_at: datetime | None
    reserve_wrong: bool


class Coverage(NamedTuple):
    """What the reserve holds and what creators may ask for, at one instant; micro-USD."""

    reserve_micro: int
    pending_micro: int
    settled_micro: int
    held_micro: int
    in_flight_micro: int
    clawback_loss_micro: int

    @property
    def owed_micro(self) -> int:
        """What must be covered."""
        return self.settled_micro + self.held_micro
