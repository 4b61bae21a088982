"""Periods of business time: each runs once, whoever leads, however the clock jumps, whatever fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from libs.clock import ManualClock
from libs.jobs import CATCH_UP_MAX, Job, Jobs
from libs.postgres import Postgres, migrate
from tests.support.events import Eventually, running
from tests.support.sessions import kill_everyone, kill_leader

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
POLL_S = 0.01


@pytest.fixture
async def postgres(empty_database: str, tmp_path: Path) -> AsyncIterator[Postgres]:
    await migrate(empty_database, schema="sample", directory=tmp_path)
    async with await Postgres.open(empty_database, schema="sample") as opened:
        yield opened


@pytest.fixture
async def session(postgres: Postgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await postgres.dedicated()
    yield connection
    await connection.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


class Diary:
    """What ran, in order; a name in `failing` fails."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, datetime]] = []
        self.failing: set[str] = set()
        self.tried: Counter[str] = Counter()

    def job(self, name: str, every: timedelta) -> Job:
        async def run(due: datetime) -> None:
            self.tried[name] += 1
            await asyncio.sleep(0)
            if name in self.failing:
                raise RuntimeError(name)
            self.runs.append((name, due))

        return Job(name, every, run)

    def instants(self, name: str) -> list[datetime]:
        return [due for each, due in self.runs if each == name]


@pytest.fixture
def diary() -> Diary:
    return Diary()


def jobs(postgres: Postgres, clock: ManualClock, *each: Job) -> Jobs:
    return Jobs(postgres, clock, each, POLL_S)


def hours(first: datetime, count: int) -> list[datetime]:
    return [first + HOUR * number for number in range(count)]


async def recorded(postgres: Postgres, due: datetime) -> bool:
    async with postgres.connection() as connection:
        return bool(await connection.fetchval("SELECT last_run = $1 FROM jobs", due))


class TestPeriods:
    async def test_a_new_job_begins_with_the_period_that_just_ended(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        clock.advance(timedelta(minutes=59))
        await jobs(postgres, clock, diary.job("a", HOUR)).run_due(session)
        assert diary.instants("a") == [NOON]

    async def test_a_period_runs_at_its_end_and_not_a_microsecond_earlier(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        hourly = jobs(postgres, clock, diary.job("a", HOUR))
        await hourly.run_due(session)
        clock.advance(HOUR - timedelta(microseconds=1))
        await hourly.run_due(session)
        assert diary.instants("a") == [NOON]
        clock.advance(timedelta(microseconds=1))
        await hourly.run_due(session)
        await hourly.run_due(session)
        assert diary.instants("a") == hours(NOON, 2)

    async def test_every_period_that_a_jump_of_the_clock_passed_is_run(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        hourly = jobs(postgres, clock, diary.job("a", HOUR))
        await hourly.run_due(session)
        clock.advance(timedelta(days=7))
        await hourly.run_due(session)
        assert diary.instants("a") == hours(NOON, 7 * 24 + 1)

    async def test_of_more_than_a_thousand_periods_only_the_newest_run(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        by_minute = jobs(postgres, clock, diary.job("a", MINUTE))
        await by_minute.run_due(session)
        diary.runs.clear()
        clock.advance(timedelta(days=30))
        await by_minute.run_due(session)
        await by_minute.run_due(session)
        assert len(diary.runs) == CATCH_UP_MAX
        assert diary.runs[-1] == ("a", clock.now())
        assert diary.runs[0] == ("a", clock.now() - MINUTE * (CATCH_UP_MAX - 1))

    async def test_of_a_job_that_sweeps_only_the_newest_period_is_run(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        sweeping = jobs(postgres, clock, replace(diary.job("a", MINUTE), sweeps=True))
        for _ in range(2):
            clock.advance(timedelta(days=7))
            await sweeping.run_due(session)
            await sweeping.run_due(session)
            assert diary.runs.pop() == ("a", clock.now())
            assert diary.runs == []

    async def test_jobs_run_in_the_order_in_which_they_fall_due(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        both = jobs(postgres, clock, diary.job("two", 2 * HOUR), diary.job("one", HOUR))
        await both.run_due(session)
        diary.runs.clear()
        clock.advance(4 * HOUR)
        await both.run_due(session)
        assert [(name, due.hour) for name, due in diary.runs] == [
            ("one", 13), ("two", 14), ("one", 14), ("one", 15), ("two", 16), ("one", 16),
        ]  # fmt: skip

    async def test_a_clock_that_goes_back_repeats_nothing(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        await jobs(postgres, clock, diary.job("a", HOUR)).run_due(session)
        stepped = ManualClock(NOON - 5 * HOUR)
        hourly = jobs(postgres, stepped, diary.job("a", HOUR))
        for _ in range(7):
            await hourly.run_due(session)
            stepped.advance(HOUR)
        assert diary.instants("a") == hours(NOON, 2)

    async def test_a_restart_goes_on_where_the_last_process_stopped(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        await jobs(postgres, clock, diary.job("a", HOUR)).run_due(session)
        clock.advance(3 * HOUR)
        await jobs(postgres, clock, diary.job("a", HOUR)).run_due(session)
        assert diary.instants("a") == hours(NOON, 4)

    async def test_a_period_made_shorter_starts_on_whole_instants(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        await jobs(postgres, clock, diary.job("a", timedelta(minutes=40))).run_due(session)
        clock.advance(HOUR)
        await jobs(postgres, clock, diary.job("a", HOUR)).run_due(session)
        assert diary.instants("a")[-1] == NOON + HOUR

    async def test_waiting_for_the_next_period_costs_no_query(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        hourly = jobs(postgres, clock, diary.job("a", HOUR))
        await hourly.run_due(session)
        asked: list[str] = []
        session.add_query_logger(lambda record: asked.append(record.query))
        await hourly.run_due(session)
        assert asked == []


class TestFailures:
    async def test_a_job_that_fails_stops_no_other_and_is_tried_again(
        self, postgres: Postgres, clock: ManualClock, diary: Diary, eventually: Eventually
    ) -> None:
        diary.failing = {"bad"}
        async with running(jobs(postgres, clock, diary.job("bad", HOUR), diary.job("good", HOUR)).run()):
            await eventually(lambda: diary.instants("good") == [NOON] and diary.tried["bad"] >= 2)
            clock.advance(2 * HOUR)
            await eventually(lambda: diary.instants("good") == hours(NOON, 3))
            diary.failing.clear()
            await eventually(lambda: diary.instants("bad") == hours(NOON, 3))

    async def test_a_job_that_hangs_is_cut_off_and_tried_again(
        self, postgres: Postgres, clock: ManualClock, diary: Diary, eventually: Eventually
    ) -> None:
        tried: list[datetime] = []

        async def hang_once(due: datetime) -> None:
            tried.append(due)
            if len(tried) == 1:
                await asyncio.Event().wait()

        stuck = Job("stuck", HOUR, hang_once, timeout_seconds=0.05)
        async with running(jobs(postgres, clock, stuck, diary.job("good", HOUR)).run()):
            await eventually(lambda: tried == [NOON, NOON] and diary.instants("good") == [NOON])


class TestReplicas:
    async def test_two_replicas_run_each_period_once(
        self, postgres: Postgres, clock: ManualClock, diary: Diary, eventually: Eventually
    ) -> None:
        pair = [jobs(postgres, clock, diary.job("a", HOUR)) for _ in range(2)]
        async with running(*(each.run() for each in pair)):
            for _ in range(20):
                clock.advance(HOUR)
                await eventually(lambda: diary.runs and diary.runs[-1] == ("a", clock.now()))
        assert diary.instants("a") == hours(diary.runs[0][1], len(diary.runs))

    @pytest.mark.parametrize("kill", [kill_leader, kill_everyone])
    async def test_a_killed_leader_is_followed_within_seconds(
        self,
        postgres: Postgres,
        empty_database: str,
        clock: ManualClock,
        diary: Diary,
        eventually: Eventually,
        kill: Callable[[str], Awaitable[int]],
    ) -> None:
        pair = [jobs(postgres, clock, diary.job("a", HOUR)) for _ in range(2)]
        async with running(*(each.run() for each in pair)):
            for wanted in (hours(NOON, number) for number in range(1, 4)):
                # Who is killed between a period and the record of it has it run again: that is another test's.
                await eventually(lambda wanted=wanted: recorded(postgres, wanted[-1]))
                assert diary.instants("a") == wanted
                assert await kill(empty_database) >= 1
                clock.advance(HOUR)

    async def test_who_lost_the_lead_runs_nothing_more(
        self, postgres: Postgres, session: asyncpg.Connection, clock: ManualClock, diary: Diary
    ) -> None:
        hourly = jobs(postgres, clock, diary.job("a", HOUR))
        await hourly.run_due(session)
        clock.advance(HOUR)
        session.terminate()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
            await hourly.run_due(session)
        assert diary.instants("a") == [NOON]

    async def test_a_period_whose_record_a_crash_prevented_is_run_again(
        self, postgres: Postgres, clock: ManualClock
    ) -> None:
        begun: list[datetime] = []
        had_effect = asyncio.Event()

        async def die_once(due: datetime) -> None:
            begun.append(due)
            if len(begun) == 1:
                had_effect.set()
                await asyncio.Event().wait()

        job = Job("a", HOUR, die_once)
        first = await postgres.dedicated()
        async with asyncio.TaskGroup() as group:
            crashing = group.create_task(jobs(postgres, clock, job).run_due(first))
            await had_effect.wait()
            crashing.cancel()
        first.terminate()
        second = await postgres.dedicated()
        await jobs(postgres, clock, job).run_due(second)
        await second.close()
        assert begun == [NOON, NOON]

    async def test_groups_of_jobs_do_not_wait_for_one_another(
        self, postgres: Postgres, clock: ManualClock, diary: Diary, eventually: Eventually
    ) -> None:
        async def hang(_due: datetime) -> None:
            await asyncio.Event().wait()

        slow = Jobs(postgres, clock, [Job("slow", HOUR, hang)], POLL_S, name="slow jobs")
        quick = jobs(postgres, clock, diary.job("quick", HOUR))
        async with running(slow.run(), quick.run()):
            await eventually(lambda: diary.instants("quick") == [NOON])
