"""Everything made again from the publishers' logs: equal to the byte, while others read, count, and are killed."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from libs import erasure
from libs.postgres import FAULTS, Connection, Postgres
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2 as distribution_events
from protos.referral.v1.events_pb2 import Registration, RegistrationFlagged
from services.leaderboard.board import Board
from services.leaderboard.commands import breakdowns, erasing, profiles, rebuilding
from services.leaderboard.jobs import Rebuilding
from services.leaderboard.jobs import rebuilding as rebuilding_jobs
from services.leaderboard.store import beside, progress, rebuilds
from tests.conftest import Database
from tests.support.leaderboard import ALL_TIME, NOW, Fact, Referral, Share, ago, books_and_referees, creator, running
from tests.support.leaderboard_world import World, background, lives, world_at

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_at(database) as world:
        yield world


def person(number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"person {number}")


async def live(world: World, size: int = 120) -> None:
    """A history with flags and reversals, told and applied as it comes."""
    facts = [
        fact._replace(referee=person(number)) if isinstance(fact, Referral) else fact
        for number, fact in enumerate(lives(size))
    ]
    await world.tell(facts)
    referrals = [fact for fact in facts if isinstance(fact, Referral) and fact.referrer]
    flags = [flag(fact, revision=1) for fact in referrals[::3]]
    cleared = [flag(fact, revision=2) for fact in referrals[::6]]
    await world.referral.append([(told, told.referrer_ref, None) for told in (*flags, *cleared)])
    taken = [reversal(fact) for fact in facts if isinstance(fact, Share) and fact.referrer and fact.micro][::4]
    await world.distribution.append([(told, told.creator_ref, None) for told in taken])
    await number(world)
    await world.replay()


def flag(fact: Referral, revision: int) -> RegistrationFlagged:
    return RegistrationFlagged(
        account_ref=str(fact.referee),
        referrer_ref=str(fact.referrer),
        flagged=revision % 2 == 1,
        revision=revision,
        changed_at=to_timestamp(NOW),
    )


def reversal(fact: Share) -> distribution_events.EarningsChanged:
    return distribution_events.EarningsChanged(
        creator_ref=str(fact.referrer),
        change=distribution_events.EARNINGS_CHANGE_CLAWED_BACK,
        amount_micro=fact.micro,
        accrued_on=fact.at.date().isoformat(),
        changed_at=to_timestamp(NOW),
    )


async def number(world: World) -> None:
    for each in (world.referral, world.distribution):
        await each.number()


async def ask(world: World) -> uuid.UUID:
    return await rebuilding.request(world.postgres, world.clock, "olga", "To be sure.")


async def state(world: World) -> list[tuple[str, str]]:
    async with world.postgres.connection() as connection:
        return [tuple(row) for row in await connection.fetch("SELECT state, fault FROM rebuilds ORDER BY rebuild_id")]


async def ended(world: World) -> bool:
    return all(each != "under_way" for each, _ in await state(world))


def rebuilder(world: World, wrap: Callable[[Any], Any] = lambda handler: handler) -> Rebuilding:
    subscriptions = [replace(each, handler=wrap(each.handler)) for each in world.subscriptions()]
    return Rebuilding(world.postgres, subscriptions, 0.02)


async def rebuild(world: World, eventually: Eventually) -> None:
    await ask(world)
    async with background(rebuilder(world).run):
        await eventually(lambda: ended(world), within=90)
    assert (await state(world))[-1] == ("done", "")


async def beside_are_gone(world: World) -> bool:
    async with world.postgres.connection() as connection:
        left: int = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relname LIKE 'next%'"
        )
    return left == 0


async def test_what_is_made_again_is_equal_to_the_byte(world: World, eventually: Eventually) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    async with world.postgres.connection() as connection:
        positions = await progress.positions(connection)
    assert len({len(row) for row in lived}) > 4
    for _ in range(2):
        await rebuild(world, eventually)
        assert await books_and_referees(world.postgres) == lived
        async with world.postgres.connection() as connection:
            now = await progress.positions(connection)
        assert {place: position for place, position in now.items() if position} == positions
        assert await beside_are_gone(world)


async def test_what_had_gone_wrong_is_right_again_and_shown(
    world: World, redis_url: str, eventually: Eventually
) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    async with running(Board(world.postgres, redis_url, 0)) as board:
        right = (await board.page(ALL_TIME, None, 100)).rows
        async with world.postgres.transaction() as connection:
            await connection.execute("UPDATE places SET earned_micro = earned_micro + 1, earned_at = now()")
            await connection.execute("DELETE FROM referral_days")
            await connection.execute(
                "INSERT INTO places SELECT 4, '-infinity', gen_random_uuid(), 1000, 0, now() FROM generate_series(1, 9)"
            )
        assert (await board.page(ALL_TIME, None, 100)).rows != right
        await rebuild(world, eventually)
        assert await books_and_referees(world.postgres) == lived
        assert (await board.page(ALL_TIME, None, 100)).rows == right


async def test_reading_and_counting_go_on_meanwhile_and_nothing_is_lost_or_counted_twice(
    world: World, database: Database, redis_url: str, eventually: Eventually
) -> None:
    await live(world)
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    def held(handler: Any) -> Any:
        async def apply(connection: Connection, events: Sequence[Any]) -> None:
            begun.set()
            await may_go_on.wait()
            await handler(connection, events)

        return apply

    await ask(world)
    more: list[Fact] = [Referral(creator(99), NOW, person(10_000)), Share(creator(99), NOW, 7)]
    async with background(rebuilder(world, held).run), running(Board(world.postgres, redis_url, 0)) as board:
        await begun.wait()
        before = (await board.page(ALL_TIME, None, 100)).rows
        await world.tell(more)
        await number(world)
        await world.replay()
        during = (await board.page(ALL_TIME, None, 100)).rows
        assert len(during) == len(before) + 1
        may_go_on.set()
        await eventually(lambda: ended(world), within=90)
        assert (await board.page(ALL_TIME, None, 100)).rows == during
    lived = await books_and_referees(world.postgres)
    await world.replay()
    assert await books_and_referees(world.postgres) == lived
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as fresh:
        await World(world.referral, world.distribution, fresh, world.clock).replay()
        assert await books_and_referees(fresh) == lived


async def test_whoever_is_killed_in_the_middle_is_followed_by_one_who_goes_on(
    world: World, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    monkeypatch.setattr(rebuilding_jobs, "_PAGE_EVENTS", 5)
    monkeypatch.setattr(rebuilding_jobs, "_PAGES_TOGETHER", 1)
    applied: list[int] = []

    def dies(handler: Any) -> Any:
        async def apply(connection: Connection, events: Sequence[Any]) -> None:
            if len(applied) == 3:
                connection.terminate()
            await handler(connection, events)
            applied.append(len(events))

        return apply

    def counted(handler: Any) -> Any:
        async def apply(connection: Connection, events: Sequence[Any]) -> None:
            applied.append(len(events))
            await handler(connection, events)

        return apply

    rebuild_id = await ask(world)
    session = await world.postgres.dedicated()
    with pytest.raises(FAULTS):
        await rebuilder(world, dies)._rebuild(session, rebuild_id)
    assert len(applied) == 3
    assert await state(world) == [("under_way", "")]
    assert await books_and_referees(world.postgres) == lived
    async with background(rebuilder(world, counted).run, rebuilder(world, counted).run):
        await eventually(lambda: ended(world), within=90)
    assert await state(world) == [("done", "")]
    assert await books_and_referees(world.postgres) == lived
    assert sum(applied) == await events_of(world)


async def test_asked_for_twice_it_is_done_once_and_two_replicas_do_it_once(
    world: World, eventually: Eventually
) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    assert len(set(await asyncio.gather(*(ask(world) for _ in range(5))))) == 1
    applied: list[int] = []

    def counted(handler: Any) -> Any:
        async def apply(connection: Connection, events: Sequence[Any]) -> None:
            applied.append(len(events))
            await handler(connection, events)

        return apply

    async with background(rebuilder(world, counted).run, rebuilder(world, counted).run):
        await eventually(lambda: ended(world), within=90)
    assert await books_and_referees(world.postgres) == lived
    assert sum(applied) == await events_of(world)


async def test_who_was_forgotten_stays_forgotten_and_published_days_stay_as_they_are(
    world: World, eventually: Eventually
) -> None:
    await live(world)
    ann, bob = creator(1), creator(2)
    for who, name in ((ann, "Ann"), (bob, "Bob")):
        await profiles.keep_ref(world.postgres, name, who)
        await profiles.set_profile(world.postgres, world.clock, who, name)
    async with world.postgres.transaction() as connection:
        await erasure.forget(connection, erasing.erase, account_ref=ann, erasure_id=uuid.uuid4(), erased_at=NOW)
        await progress.mark_caught_up(connection, ago(days=10))
    await breakdowns.publish(world.postgres, timedelta(hours=1))
    before = await kept(world), await books_and_referees(world.postgres)
    await rebuild(world, eventually)
    assert (await kept(world), await books_and_referees(world.postgres)) == before
    async with world.postgres.connection() as connection:
        names = await connection.fetch("SELECT display_name FROM profiles")
        open_days = await connection.fetchval("SELECT min(day) FROM open_parts")
    assert [row["display_name"] for row in names] == ["Bob"]
    assert open_days > ago(days=12).date()


async def kept(world: World) -> list[tuple[Any, ...]]:
    """What no rebuild makes or changes."""
    async with world.postgres.connection() as connection:
        rows = [
            *await connection.fetch("SELECT * FROM accounts ORDER BY 1"),
            *await connection.fetch("SELECT * FROM profiles ORDER BY 1"),
            *await connection.fetch("SELECT * FROM shown_parts ORDER BY creator_ref, dimension, day, name"),
            *await connection.fetch("SELECT caught_up_at, published_through FROM progress"),
            *await connection.fetch("SELECT account_ref, erasure_id, erased_at, rows FROM erased_accounts ORDER BY 1"),
        ]
    return [tuple(row) for row in rows]


async def test_an_event_that_makes_no_sense_is_left_out_again(world: World, eventually: Eventually) -> None:
    await world.referral.append([(Registration(referrer_ref="nobody"), "key", 0)])
    await live(world)
    lived = await books_and_referees(world.postgres)
    await rebuild(world, eventually)
    assert await books_and_referees(world.postgres) == lived
    async with world.postgres.connection() as connection:
        letters = await connection.fetch("SELECT topic, partition, position FROM dead_letters")
    assert [tuple(row) for row in letters] == [("referral.registrations.v1", 0, 1)]


async def test_what_cannot_be_made_again_is_given_up_and_what_is_read_stays(
    world: World, eventually: Eventually
) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)

    def broken(_handler: Any) -> Any:
        async def apply(_connection: Connection, _events: Sequence[Any]) -> None:
            raise ValueError

        return apply

    await ask(world)
    async with background(rebuilder(world, broken).run):
        await eventually(lambda: ended(world), within=90)
    assert await state(world) == [("failed", "TooManyDeadLetters")]
    assert await books_and_referees(world.postgres) == lived
    assert await beside_are_gone(world)
    await rebuild(world, eventually)
    assert await books_and_referees(world.postgres) == lived


async def test_a_log_that_has_lost_events_ends_it(world: World, eventually: Eventually) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    async with world.referral.postgres.transaction() as connection:
        await connection.execute("DELETE FROM events WHERE position = 2")
    await ask(world)
    async with background(rebuilder(world).run):
        await eventually(lambda: ended(world), within=90)
    assert await state(world) == [("failed", "EventsMissing")]
    assert await books_and_referees(world.postgres) == lived


async def test_tables_begun_by_another_version_of_the_schema_are_begun_anew(
    world: World, eventually: Eventually
) -> None:
    await live(world)
    lived = await books_and_referees(world.postgres)
    rebuild_id = await ask(world)
    async with world.postgres.transaction() as connection:
        await beside.make(connection)
        await rebuilds.mark_made(connection, rebuild_id)
        await connection.execute("ALTER TABLE next_places ADD COLUMN another int NOT NULL")
        await connection.execute("INSERT INTO migrations (name, checksum) VALUES ('leaderboard/9999_next.sql', '')")
    async with background(rebuilder(world).run):
        await eventually(lambda: ended(world), within=90)
    assert await state(world) == [("done", "")]
    assert await books_and_referees(world.postgres) == lived


async def events_of(world: World) -> int:
    async with world.postgres.connection() as connection:
        return sum((await progress.positions(connection)).values())
