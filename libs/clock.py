"""Business time. Leases, time-outs and TTLs use real time instead (`time.monotonic`, the event loop)."""

import fcntl
import mmap
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

_SIZE = 8
_MICROSECOND = timedelta(microseconds=1)

MAX_OFFSET = timedelta(days=36_525)
"""A movable clock goes at most a century ahead, so that adding to its time cannot overflow."""


class Clock(Protocol):
    """Tells the instant that business rules decide by."""

    def now(self) -> datetime:
        """Aware UTC, to the microsecond."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Aware UTC, to the microsecond."""
        return datetime.now(UTC)  # noqa: TID251 - this is where business time comes from


class MovableClock:
    """The machine's time plus an offset that every process of a test stack shares through a mapped file.

    The file holds one little-endian int64, microseconds. It is made when it is missing; whoever writes it moves all.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        _make(self._path)
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != _SIZE:
                raise ValueError(f"{self._path} is no clock file: it must hold exactly {_SIZE} bytes")
            mapped = mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ)
        # One aligned native load per reading: an offset is never seen half written.
        self._offset_us = memoryview(mapped).cast("q")

    @property
    def offset(self) -> timedelta:
        """How far ahead of the machine's time it is."""
        return self._offset_us[0] * _MICROSECOND

    def now(self) -> datetime:
        """Aware UTC, to the microsecond."""
        return datetime.now(UTC) + self.offset  # noqa: TID251 - this is where business time comes from

    def advance(self, by: timedelta) -> timedelta:
        """Move every process at once and return the new offset; concurrent advances add up.

        Raises ValueError for a negative step (time never goes back) and beyond MAX_OFFSET.
        """
        if by < timedelta(0):
            raise ValueError("the clock is never moved back")
        with self._path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            offset = self.offset + by
            if offset > MAX_OFFSET:
                raise ValueError(f"the clock is never more than {MAX_OFFSET.days} days ahead")
            with mmap.mmap(file.fileno(), _SIZE) as mapped, memoryview(mapped) as raw, raw.cast("q") as offset_us:
                offset_us[0] = offset // _MICROSECOND
        return offset


class ManualClock:
    """Stands still until it is advanced; for tests within one process."""

    def __init__(self, start: datetime) -> None:
        if start.utcoffset() is None:
            raise ValueError("a clock's time is aware")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Aware UTC, to the microsecond."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move on; raises ValueError for a negative step."""
        if by < timedelta(0):
            raise ValueError("the clock is never moved back")
        self._now += by


def open_clock(test_mode: bool, path: str | None) -> Clock:  # noqa: FBT001 - reads as a sentence at its one call
    """Return the clock a process runs by; raises ValueError where a clock file is given outside test mode."""
    if not path:
        return SystemClock()
    if not test_mode:
        raise ValueError("a clock file moves time, which only test mode may do")
    return MovableClock(path)


def _make(path: Path) -> None:
    """Make the file whole or not at all: a link appears with all its bytes, and only where there is none yet."""
    if path.exists():
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(bytes(_SIZE))
        file.flush()
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
