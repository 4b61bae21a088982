"""Nouns of audits."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple


class AuditState(IntEnum):
    """running → passed | violated | failed; numbered as in the API."""

    RUNNING = 1
    PASSED = 2
    VIOLATED = 3
    FAILED = 4


class Check(NamedTuple):
    """One invariant, and the query for what breaks it: (table, row key, expected, found), first of the journal first.

    `pauses`: a difference in the reserve or in what creators have, so that payouts have to wait.
    """

    invariant: str
    description: str
    query: str
    pauses: bool = False


class Violation(NamedTuple):
    """A row that breaks an invariant."""

    invariant: str
    table: str
    row_key: str
    expected: str
    found: str


class Result(NamedTuple):
    """What an audit found of one invariant: how many rows break it, and the first of them."""

    invariant: str
    description: str
    violations: int
    first: tuple[Violation, ...] = ()
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit."""

    audit_id: str
    state: AuditState
    operator_id: str
    reason: str
    started_at: datetime
    ended_at: datetime | None
    rows: int
