"""Batches and withdrawals: what the provider remembers of each, and how it moves on by itself."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

COURSE: Final = ("CREATING", "WAITING", "PROCESSING", "SENDING", "FINISHED")
DEAD: Final = frozenset({"REJECTED", "CANCELLED"})
TRIES_MAX: Final = 10


@dataclass
class Withdrawal:
    """One row. Its id and its batch's are different numbers."""

    id: str
    batch_id: str
    address: str
    currency: str
    amount: Decimal
    extra_id: str | None
    unique_external_id: str | None
    ipn_callback_url: str | None
    created_at: datetime
    status: str = "CREATING"
    requested_at: datetime | None = None
    updated_at: datetime | None = None
    moved_at: datetime | None = None
    hash: str | None = None
    fee: Decimal | None = None
    fee_paid_by: str | None = None
    error: str | None = None
    ending: str = "FINISHED"
    """What it comes to on its course: a fault may have it fail, or be rejected."""
    frozen: bool = False
    """Whether it stays where it is until somebody moves it."""
    sent: bool = False
    """Whether money truly left: whatever the row says."""
    reserved: bool = False
    hidden_until: datetime | None = None
    """Until then lists and look-ups do not show it."""
    shown: str | None = None
    """A state that is shown instead of the true one."""

    def view(self, *, style: str = "live") -> dict[str, Any]:
        """The row as the API shows it."""
        status = self.shown or self.status
        created, requested, updated = stamp(self.created_at), stamp(self.requested_at), stamp(self.updated_at)
        row: dict[str, Any] = {
            "is_request_payouts": False,
            "id": self.id,
            "address": self.address,
            "currency": self.currency,
            "amount": f"{self.amount:f}",
            "batch_withdrawal_id": self.batch_id,
            "status": status.lower() if style == "lower" else status,
            "error": self.error,
            "extra_id": self.extra_id,
            "hash": self.hash,
            "ipn_callback_url": self.ipn_callback_url,
            "payout_description": None,
            "unique_external_id": self.unique_external_id,
            "update_history_log": None,
            "rejected_check_attempts": 0,
            "fee": None if self.fee is None else f"{self.fee:f}",
            "fee_paid_by": self.fee_paid_by,
        }
        if style == "camel":
            return row | {"createdAt": created, "requestedAt": requested, "updatedAt": updated}
        return row | {"created_at": created, "requested_at": requested, "updated_at": updated}

    def callback(self) -> dict[str, Any]:
        """The body of a callback about it, as documented: without the external id."""
        names = (
            "id", "batch_withdrawal_id", "status", "error", "currency", "amount", "address", "fee", "extra_id",
            "hash", "ipn_callback_url", "created_at", "requested_at", "updated_at",
        )  # fmt: skip
        row = self.view()
        return {name: row[name] for name in names}

    @property
    def is_over(self) -> bool:
        return self.status in DEAD or self.status in {"FINISHED", "FAILED"}

    def chain_hash(self) -> str:
        return hashlib.sha256(f"withdrawal {self.id}".encode()).hexdigest()


@dataclass
class Batch:
    """What is verified as one."""

    id: str
    created_at: datetime
    rows: list[Withdrawal] = field(default_factory=list)
    verified_at: datetime | None = None
    tries: int = 0


def stamp(instant: datetime | None) -> str | None:
    """A time as the API writes it."""
    return None if instant is None else f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def next_state(row: Withdrawal) -> str:
    """What follows on its course; where it is over, the same."""
    if row.is_over:
        return row.status
    after = COURSE[COURSE.index(row.status) + 1] if row.status in COURSE else "FINISHED"
    if after == "FINISHED" or (row.ending == "REJECTED" and after == "SENDING"):
        return row.ending
    return after


def is_due(row: Withdrawal, now: datetime, step: timedelta) -> bool:
    return row.requested_at is not None and not row.frozen and not row.is_over and now - (row.moved_at or now) >= step
