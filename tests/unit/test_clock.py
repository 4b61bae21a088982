import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.clock import MAX_OFFSET, Clock, ManualClock, MovableClock, SystemClock, open_clock

START = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
YEAR = timedelta(days=365)


def ahead(clock: Clock) -> timedelta:
    return clock.now() - SystemClock().now()


def test_a_movable_clock_starts_at_the_machines_time(tmp_path: Path) -> None:
    clock = MovableClock(tmp_path / "clock")
    assert abs(ahead(clock)) < timedelta(seconds=1)
    assert (tmp_path / "clock").read_bytes() == bytes(8)
    assert [path.name for path in tmp_path.iterdir()] == ["clock"]


def test_an_advance_moves_every_clock_on_the_file(tmp_path: Path) -> None:
    one, other = MovableClock(tmp_path / "clock"), MovableClock(tmp_path / "clock")
    assert one.advance(YEAR) == YEAR
    assert other.offset == YEAR
    assert YEAR - timedelta(seconds=1) < ahead(other) <= YEAR
    assert (tmp_path / "clock").read_bytes() == (365 * 86_400 * 10**6).to_bytes(8, "little", signed=True)


def test_a_later_process_finds_the_time_as_it_was_left(tmp_path: Path) -> None:
    MovableClock(tmp_path / "clock").advance(YEAR)
    assert MovableClock(tmp_path / "clock").offset == YEAR


def test_concurrent_advances_add_up(tmp_path: Path) -> None:
    clock = MovableClock(tmp_path / "clock")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: MovableClock(tmp_path / "clock").advance(timedelta(seconds=1)), range(200)))
    assert clock.offset == timedelta(seconds=200)


def _advance(path: Path) -> None:
    clock = MovableClock(path)
    for _ in range(100):
        clock.advance(timedelta(microseconds=1))


def test_advances_of_several_processes_add_up(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_advance, args=(tmp_path / "clock",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert MovableClock(tmp_path / "clock").offset == timedelta(microseconds=200)


@pytest.mark.parametrize("by", [timedelta(microseconds=-1), -YEAR, MAX_OFFSET + timedelta(days=1), timedelta.max])
def test_time_goes_neither_back_nor_beyond_a_century(tmp_path: Path, by: timedelta) -> None:
    clock = MovableClock(tmp_path / "clock")
    with pytest.raises((ValueError, OverflowError)):
        clock.advance(by)
    assert clock.offset == timedelta(0)


def test_a_file_that_is_no_clock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clock").write_bytes(b"noon")
    with pytest.raises(ValueError, match="no clock file"):
        MovableClock(tmp_path / "clock")


def test_a_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(START)
    assert clock.now() == clock.now() == START
    clock.advance(timedelta(microseconds=1))
    assert clock.now() == datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="back"):
        clock.advance(timedelta(seconds=-1))


def test_a_naive_start_names_no_instant() -> None:
    with pytest.raises(ValueError, match="aware"):
        ManualClock(START.replace(tzinfo=None))


def test_only_test_mode_moves_the_clock(tmp_path: Path) -> None:
    path = str(tmp_path / "clock")
    assert isinstance(open_clock(True, path), MovableClock)
    assert isinstance(open_clock(True, None), SystemClock)
    assert isinstance(open_clock(False, ""), SystemClock)
    with pytest.raises(ValueError, match="test mode"):
        open_clock(False, path)
