from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from libs.jobs import CATCH_UP_MAX, periods

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = st.integers(1, 40 * 86_400)
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def floor(instant: datetime, every: timedelta) -> datetime:
    return instant - (instant - EPOCH) % every


@given(start=INSTANTS, seconds=SECONDS, steps=st.lists(st.integers(0, 500_000), max_size=8))
def test_however_often_it_wakes_each_period_is_run_once(start: datetime, seconds: int, steps: list[int]) -> None:
    every = timedelta(seconds=seconds)
    last = floor(start, every)
    now = start
    run: list[datetime] = []
    coalesced = False
    for step in steps:
        now += timedelta(seconds=step)
        coalesced |= (floor(now, every) - last) // every > CATCH_UP_MAX
        run += periods(last, now, every)
        last = run[-1] if run else last
    assert all(due <= now and (due - EPOCH) % every == timedelta(0) for due in run)
    assert run == sorted(set(run))
    assert (run[-1] if run else floor(start, every)) == floor(now, every)
    if not coalesced:
        assert len(run) == (floor(now, every) - floor(start, every)) // every


@given(last=INSTANTS, seconds=SECONDS)
def test_a_clock_that_steps_back_runs_nothing(last: datetime, seconds: int) -> None:
    every = timedelta(seconds=seconds)
    assert periods(floor(last, every), last - timedelta(days=1) - every, every) == []
