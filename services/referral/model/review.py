"""Cases for review."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Subject(StrEnum):
    """What a case is about."""

    REGISTRATION = "registration"
    STANDING = "standing"
    SHARED_ADDRESS = "shared_address"


class CaseState(StrEnum):
    """open → cleared | confirmed."""

    OPEN = "open"
    CLEARED = "cleared"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case is opened for; `observed` and `points` are a score's parts, None where there are none."""

    subject: Subject
    referrer_ref: uuid.UUID
    referee_ref: uuid.UUID | None
    risk_score: int
    urgent: bool
    weights_version: int = 0
    observed: tuple[int, ...] | None = None
    points: tuple[int, ...] | None = None
    related_refs: tuple[uuid.UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A case, with the bonus of its referee where there is one."""

    case_id: uuid.UUID
    finding: Finding
    state: CaseState
    opened_at: datetime
    due_at: datetime
    decided_by: str = ""
    decided_at: datetime | None = None
    bonus_id: uuid.UUID | None = None
    amount_micro: int = 0


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases are wanted; None for all."""

    state: CaseState = CaseState.OPEN
    subject: Subject | None = None
    urgent: bool | None = None
    referrer_ref: uuid.UUID | None = None
    overdue_only: bool = False


@dataclass(frozen=True, slots=True)
class CasePlace:
    """Where a page of the queue ended: the most urgent first, then the oldest."""

    urgent: bool
    opened_at: datetime
    case_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Note:
    """What a reviewer wrote down."""

    operator_id: str
    text: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator decides of a case, and why."""

    cleared: bool
    operator_id: str
    reason: str
