"""The audit log."""

import uuid
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did; `operator_id` is "job:<name>" for a job, `account_ref` None where it is about no account."""

    act: str
    subject: str
    account_ref: uuid.UUID | None
    operator_id: str
    reason: str
    acted_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An act in its place of the chain; `hash` is SHA-256 over the former row's hash and this row."""

    sequence: int
    act: Act
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest place of the chain; 0 and zeros while it is empty."""

    sequence: int
    hash: bytes
