"""Where accounts are paid."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID


class DestinationState(IntEnum):
    """new → confirmed → removed; blocked from any."""

    NEW = 1
    CONFIRMED = 2
    REMOVED = 3
    BLOCKED = 4


@dataclass(frozen=True, slots=True)
class Destination:
    """An address of an account. `usable_from`: when payouts may go there, once it is confirmed."""

    destination_id: UUID
    account_ref: UUID
    currency: str
    address: str
    memo: str
    address_ref: UUID
    state: DestinationState
    added_at: datetime
    confirmed_at: datetime | None
    usable_from: datetime | None
