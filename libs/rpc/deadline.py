"""When the caller stops waiting: carried from an incoming call to every call made on its behalf."""

import time
from contextvars import ContextVar

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""On the monotonic clock; None where nobody waits."""


def remaining_seconds() -> float | None:
    """Return how long the caller of the work in hand still waits, never negative; None where nobody does."""
    ends = deadline.get()
    return None if ends is None else max(ends - time.monotonic(), 0.0)


def within(seconds: float | None) -> float | None:
    """Shorten a time-out to what the caller still waits."""
    left = remaining_seconds()
    if left is None or (seconds is not None and seconds < left):
        return seconds
    return left
