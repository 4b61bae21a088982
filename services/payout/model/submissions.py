"""Attempts to hand a payout to the provider."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from typing import Final
from uuid import UUID


class AttemptState(IntEnum):
    """What is known of an attempt. The first three are live, and a payout has at most one live or finished attempt."""

    PREPARED = 1  # written down; the provider may have it
    CREATED = 2  # the provider has it under a batch id, not verified: no money moves
    VERIFIED = 3  # verified, or about to be: money may move
    FINISHED = 4  # sent
    REJECTED = 5  # the provider will not send it: confirmed by a fresh look-up
    CANCELLED = 6  # the same, cancelled
    REFUSED = 7  # the provider refused to create it, and never had it
    WRITTEN_OFF = 8  # two operators say, with proof, that it was not sent and never will be


LIVE: Final = frozenset({AttemptState.PREPARED, AttemptState.CREATED, AttemptState.VERIFIED})


def external_id(payout_id: UUID, attempt: int) -> str:
    """Return what the provider knows an attempt by: of `[A-Za-z0-9-]`, at most 40 characters."""
    return f"{payout_id.hex}-{attempt}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. Amounts in units of the currency. `provider_state` is the provider's own word."""

    payout_id: UUID
    attempt: int
    round: int
    unique_external_id: str
    state: AttemptState
    amount: Decimal
    batch_id: str
    provider_payout_id: str
    provider_state: str
    fee: Decimal | None
    transaction_hash: str
    prepared_at: datetime
    created_at: datetime | None
    verified_at: datetime | None
    checked_at: datetime | None
    closed_at: datetime | None
