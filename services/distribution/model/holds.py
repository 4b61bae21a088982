"""Nouns of the money side of payouts."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple


class HoldState(IntEnum):
    """held → returned | burned; burned → completed | failed. Numbered as in the API and in the books."""

    HELD = 1
    RETURNED = 2
    BURNED = 3
    COMPLETED = 4
    FAILED = 5


class Wanted(NamedTuple):
    """A hold that is asked for: one round of a payout, and whose money."""

    payout_id: str
    round: int
    creator_ref: str
    amount_micro: int


class Withdrawable(NamedTuple):
    """What decides whether a creator's money may be held for a payout, and what is kept of it with the hold.

    How many rounds the payout has had, the switch of all payouts, the creator's balance and state.
    """

    rounds: int
    paused: bool
    settled_micro: int
    maturing_micro: int
    frozen: bool
    forfeitures: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The money side of one round of a payout; `forfeitures` of its creator when it was held."""

    payout_id: str
    round: int
    creator_ref: str
    amount_micro: int
    state: HoldState
    sent_micro: int
    fee_micro: int
    held_at: datetime
    changed_at: datetime
    forfeitures: int = 0


class Move(NamedTuple):
    """What is asked of a hold: the state it is to get, and what that state needs to know."""

    to: HoldState
    sent_micro: int = 0
    fee_micro: int = 0
    reason: str = ""


class Answered(NamedTuple):
    """A hold as its caller gets it; `replayed` where an earlier call made it so."""

    hold: Hold
    replayed: bool
