"""Callbacks of the provider."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID


class CallbackKind(IntEnum):
    """Numbers of creator.payout.v1.CallbackKind."""

    PAYOUT = 1
    PAYMENT = 2


class CallbackState(IntEnum):
    """Numbers of creator.payout.v1.CallbackState."""

    STORED = 1
    WAITING = 2
    APPLIED = 3
    IGNORED = 4


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback without its body."""

    callback_id: UUID
    kind: CallbackKind
    state: CallbackState
    provider_id: str
    provider_state: str
    payout_id: UUID | None
    tries: int
    received_at: datetime
    applied_at: datetime | None
