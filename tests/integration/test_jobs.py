"""Every period that passed is run, in order, by one leader, whatever fails meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import structlog

from libs.clock import ManualClock
from libs.jobs import CATCH_UP_MAX, Job, Jobs
from libs.postgres import Postgres, migrate
from tests.support.events import NO_MIGRATIONS, Eventually, running

START = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
POLL_S = 0.02


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def postgres(empty_database: str) -> AsyncIterator[Postgres]:
    await migrate(empty_database, schema="sample", directory=NO_MIGRATIONS)
    async with await Postgres.open(empty_database, schema="sample") as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


class Diary:
    """Which job ran for which instant; a job listed in `failing` raises, one in `hanging` never ends."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, datetime]] = []
        self.failing: set[str] = set()
        self.hanging: set[str] = set()

    def job(self, name: str, every: timedelta, timeout_seconds: float = 300) -> Job:
        async def run(due: datetime) -> None:
            if name in self.failing:
                raise RuntimeError(name)
            if name in self.hanging:
                await asyncio.Event().wait()
            self.entries.append((name, due))

        return Job(name, every, run, timeout_seconds)

    def of(self, name: str) -> list[datetime]:
        return [due for each, due in self.entries if each == name]


async def wake(postgres: Postgres, jobs: Jobs) -> None:
    async with postgres.connection() as connection:
        await jobs.run_due(connection)  # type: ignore[arg-type] # a pool's connection does as well


async def test_a_new_job_runs_for_the_period_that_just_ended(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    await wake(postgres, Jobs(postgres, clock, [diary.job("hourly", HOUR)], POLL_S))
    assert diary.of("hourly") == [START - timedelta(minutes=30)]


async def test_nothing_runs_twice_for_one_period(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    jobs = Jobs(postgres, clock, [diary.job("hourly", HOUR)], POLL_S)
    for _ in range(5):
        await wake(postgres, jobs)
    assert len(diary.entries) == 1


async def test_a_jump_of_the_clock_runs_every_period_it_passed(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    jobs = Jobs(postgres, clock, [diary.job("hourly", HOUR)], POLL_S)
    await wake(postgres, jobs)
    clock.advance(40 * DAY)
    await wake(postgres, jobs)
    first = START - timedelta(minutes=30)
    assert diary.of("hourly") == [first + HOUR * number for number in range(40 * 24 + 1)]


async def test_jobs_run_in_the_order_they_fall_due(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    jobs = Jobs(postgres, clock, [diary.job("daily", DAY), diary.job("hourly", HOUR)], POLL_S)
    await wake(postgres, jobs)
    clock.advance(3 * DAY)
    await wake(postgres, jobs)
    later = diary.entries[2:]
    assert [due for _, due in later] == sorted(due for _, due in later)
    assert len(later) == 3 + 72


async def test_of_very_many_periods_the_newest_thousand_are_run(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    jobs = Jobs(postgres, clock, [diary.job("often", timedelta(minutes=1))], POLL_S)
    await wake(postgres, jobs)
    clock.advance(30 * DAY)
    await wake(postgres, jobs)
    assert len(diary.entries) == 1 + CATCH_UP_MAX
    assert diary.entries[-1][1] == START + 30 * DAY


async def test_a_job_that_fails_is_tried_again_and_stops_no_other(
    postgres: Postgres, clock: ManualClock, eventually: Eventually, logs: list[MutableMapping[str, Any]]
) -> None:
    diary = Diary()
    diary.failing = {"bad"}
    jobs = Jobs(postgres, clock, [diary.job("bad", HOUR), diary.job("good", HOUR)], POLL_S)
    async with running(jobs.run()):
        await eventually(lambda: diary.of("good"))
        clock.advance(2 * HOUR)
        await eventually(lambda: len(diary.of("good")) == 3)
        assert diary.of("bad") == []
        diary.failing = set()
        await eventually(lambda: len(diary.of("bad")) == 3, within=20)
    assert diary.of("bad") == diary.of("good")
    assert any(line["event"] == "job failed" and line["job"] == "bad" for line in logs)


async def test_a_job_that_hangs_is_cut_off(postgres: Postgres, clock: ManualClock, eventually: Eventually) -> None:
    diary = Diary()
    diary.hanging = {"stuck"}
    jobs = Jobs(postgres, clock, [diary.job("stuck", HOUR, 0.05), diary.job("good", HOUR)], POLL_S)
    async with running(jobs.run()):
        await eventually(lambda: diary.of("good"))
        diary.hanging = set()
        await eventually(lambda: diary.of("stuck"))


async def test_a_period_whose_record_a_crash_prevented_is_run_again(postgres: Postgres, clock: ManualClock) -> None:
    diary = Diary()
    died = asyncio.Event()

    async def run(due: datetime) -> None:
        diary.entries.append(("hourly", due))
        if len(diary.entries) == 1:
            died.set()
            await asyncio.Event().wait()

    job = Job("hourly", HOUR, run)
    crashing = asyncio.create_task(wake(postgres, Jobs(postgres, clock, [job], POLL_S)))
    await died.wait()
    crashing.cancel()
    await asyncio.gather(crashing, return_exceptions=True)
    await wake(postgres, Jobs(postgres, clock, [job], POLL_S))
    assert len(set(diary.entries)) == 1
    assert len(diary.entries) == 2


async def test_one_of_several_replicas_runs_each_period(
    postgres: Postgres, clock: ManualClock, eventually: Eventually
) -> None:
    diary = Diary()
    replicas = [Jobs(postgres, clock, [diary.job("hourly", HOUR)], POLL_S) for _ in range(3)]
    async with running(*(replica.run() for replica in replicas)):
        await eventually(lambda: len(diary.entries) == 1)
        for hours in range(2, 6):
            clock.advance(HOUR)
            await eventually(lambda hours=hours: len(diary.entries) == hours)
    assert len(set(diary.entries)) == 5


async def test_when_the_leader_is_killed_another_goes_on(
    postgres: Postgres, clock: ManualClock, eventually: Eventually, empty_database: str
) -> None:
    diary = Diary()
    replicas = [Jobs(postgres, clock, [diary.job("hourly", HOUR)], POLL_S) for _ in range(2)]
    async with running(*(replica.run() for replica in replicas)):
        await eventually(lambda: len(diary.entries) == 1)
        killer = await asyncpg.connect(empty_database)
        await killer.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """
        )
        await killer.close()
        clock.advance(HOUR)
        await eventually(lambda: len(diary.entries) == 2, within=5)


async def test_groups_of_jobs_do_not_wait_for_one_another(
    postgres: Postgres, clock: ManualClock, eventually: Eventually
) -> None:
    diary = Diary()
    diary.hanging = {"slow"}
    slow = Jobs(postgres, clock, [diary.job("slow", HOUR)], POLL_S, name="slow jobs")
    quick = Jobs(postgres, clock, [diary.job("quick", HOUR)], POLL_S)
    async with running(slow.run(), quick.run()):
        await eventually(lambda: diary.of("quick"))
