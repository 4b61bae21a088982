"""Nouns of the books read by time."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.distribution.model import AccountKind
from services.distribution.model.ledger import TransferKind


class Account(NamedTuple):
    """A ledger account as it is found by its name."""

    account_id: int
    name: str
    kind: AccountKind
    balance_micro: int

    @property
    def owner(self) -> str:
        """The community or creator whose it is: what stands between the colons of its name."""
        return self.name.partition(":")[2].removesuffix(":pending")

    @property
    def is_personal(self) -> bool:
        """Whether it is one of very many, moved by transfers only: its history is short, and not summed up."""
        return self.kind in _PERSONAL


_PERSONAL = frozenset({AccountKind.CREATOR_SETTLED, AccountKind.CREATOR_HELD, AccountKind.CREDITS})


class Cursor(NamedTuple):
    """A place in the order of recording: after this entry."""

    recorded_at: datetime
    transfer_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One leg of a transfer."""

    transfer_id: str
    kind: TransferKind
    account_name: str
    amount_micro: int
    cause_id: str
    recorded_at: datetime


class Movement(NamedTuple):
    """Everything of one kind that moved an account in a period; both amounts are positive."""

    kind: TransferKind
    increase_micro: int
    decrease_micro: int
    entries: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One account over a period."""

    opening_micro: int
    movements: tuple[Movement, ...]

    @property
    def closing_micro(self) -> int:
        return self.opening_micro + sum(each.increase_micro - each.decrease_micro for each in self.movements)
