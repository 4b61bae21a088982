"""What every clock promises, whichever it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.clock import Clock, ManualClock, MovableClock, SystemClock

CLOCKS: dict[str, Callable[[Path], Clock]] = {
    "system": lambda _: SystemClock(),
    "movable": lambda path: MovableClock(path / "clock"),
    "manual": lambda _: ManualClock(datetime(2026, 3, 1, tzinfo=UTC)),
}


@pytest.fixture(params=CLOCKS)
def clock(request: pytest.FixtureRequest, tmp_path: Path) -> Clock:
    return CLOCKS[request.param](tmp_path)


def test_a_clock_tells_aware_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


def test_a_clock_never_goes_back(clock: Clock) -> None:
    told = [clock.now() for _ in range(1000)]
    assert told == sorted(told)


def test_a_clock_that_can_be_moved_moves_by_what_it_is_told(clock: Clock) -> None:
    if isinstance(clock, SystemClock):
        assert not hasattr(clock, "advance")
        return
    assert isinstance(clock, MovableClock | ManualClock)
    before = clock.now()
    clock.advance(timedelta(days=400, microseconds=1))
    assert timedelta(days=400, microseconds=1) <= clock.now() - before < timedelta(days=400, minutes=1)
    with pytest.raises(ValueError, match="back"):
        clock.advance(timedelta(microseconds=-1))
