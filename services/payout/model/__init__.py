"""Nouns of payout. The numbers of enums are those of creator.payout.v1."""

from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

MICRO: Final = 1_000_000
"""One dollar."""


class State(IntEnum):
    """What the public sees of a payout."""

    PENDING = 1
    PROCESSING = 2
    COMPLETED = 3
    FAILED = 4


class Stage(IntEnum):
    """Where exactly a payout stands."""

    REQUESTED = 1
    AWAITING_CONFIRMATION = 2
    AWAITING_APPROVAL = 3
    QUEUED = 4
    SUBMITTING = 5
    PROCESSING = 6
    REJECTED = 7
    UNKNOWN = 8
    STALLED = 9
    COMPLETED = 10
    FAILED = 11
    CANCELLED = 12
    DECLINED = 13

    @property
    def state(self) -> State:
        """What the public sees of it."""
        return _STATES.get(self, State.PROCESSING)


_STATES: Final = MappingProxyType(
    {
        Stage.REQUESTED: State.PENDING,
        Stage.AWAITING_CONFIRMATION: State.PENDING,
        Stage.AWAITING_APPROVAL: State.PENDING,
        Stage.QUEUED: State.PENDING,
        Stage.COMPLETED: State.COMPLETED,
        Stage.FAILED: State.FAILED,
        Stage.CANCELLED: State.FAILED,
        Stage.DECLINED: State.FAILED,
    }
)

OPEN: Final = frozenset(stage for stage in Stage if stage.state in {State.PENDING, State.PROCESSING})
"""A payout that is not final."""


class Event(IntEnum):
    """What happens to a payout."""

    CONFIRMATION_NEEDED = 1  # its money is held, its owner is to confirm the destination
    APPROVAL_NEEDED = 2  # operators are to look at it
    READY = 3  # nothing keeps it from its turn
    HOLD_REFUSED = 4  # the ledger did not set its money aside
    CANCEL = 5
    DECLINE = 6
    SUBMIT = 7  # its turn has come; from here on nobody cancels it
    PUT_BACK = 8  # the ledger does not burn it now; the provider knows nothing of it
    ACCEPT = 9  # the provider has it, or, by hand, an operator
    LOSE = 10  # nobody knows whether the provider has it
    REJECT = 11  # the provider confirmed that it will not send it
    SUBMIT_AGAIN = 12  # a refusal that may pass: another attempt
    STALL = 13  # no news for 24 hours
    COMPLETE = 14
    FAIL = 15  # for good: its money goes back
    RETRY = 16  # its owner asks for another round


class Money(IntEnum):
    """What payout knows of the money of a payout's round; the ledger's word is the truth."""

    ASKED = 1  # a hold is wanted; whether it was made is not known
    HELD = 2
    BURNED = 3
    CLOSED = 4  # returned, sent or given back, or never held


class Order(NamedTuple):
    """Which operator wants something, and why."""

    operator_id: str
    reason: str
