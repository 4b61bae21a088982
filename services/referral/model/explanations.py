"""How an attribution was decided, or would have been."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What came of it."""

    BOUND = "BOUND"
    ORGANIC = "ORGANIC"
    REFUSED = "REFUSED"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Step:
    """One check; `reason` where it was not passed."""

    check: str
    passed: bool
    reason: str
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """The checks in the order they were made. Nobody is named: neither referrer nor code."""

    steps: Sequence[Step]
    verdict: Verdict
    registered_at: datetime | None = None
    window_end: datetime | None = None
