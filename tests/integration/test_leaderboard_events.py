"""Events on their way: a publisher's outbox, its relay, the broker, the inbox, the board."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import date, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from libs import kafka, rpc
from libs.consumer import Consumer
from libs.kafka import Publisher
from libs.outbox import Relay
from libs.postgres import Postgres
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import Registration
from services.leaderboard import consumers
from services.leaderboard.board import Board
from services.leaderboard.jobs import CatchingUp
from services.leaderboard.model import Timeframe
from services.leaderboard.rules import windows
from tests.conftest import Database
from tests.support.brokers import Broker
from tests.support.leaderboard import (
    ALL_TIME,
    NOW,
    Fact,
    Referral,
    Share,
    ago,
    apply,
    books,
    creator,
    finalized,
    received,
    recomputed,
    registration,
    running,
)
from tests.support.leaderboard_world import World, background, lives, world_at

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_at(database) as world:
        yield world


async def test_events_flow_to_two_replicas_through_the_loss_of_the_broker(
    world: World, fresh_broker: Broker, redis_url: str, eventually: Eventually
) -> None:
    facts = lives(400)
    async with AsyncExitStack() as stack:
        publishers = [Publisher(fresh_broker.bootstrap, idempotent=False) for _ in range(2)]
        for publisher in publishers:
            stack.push_async_callback(publisher.close)
        relays = [
            Relay(each.postgres, publisher)
            for each, publisher in zip((world.referral, world.distribution), publishers, strict=True)
        ]
        replicas = [
            Consumer(world.postgres, fresh_broker.bootstrap, "leaderboard", world.subscriptions(), 0.2)
            for _ in range(2)
        ]
        boards = [await stack.enter_async_context(running(Board(world.postgres, redis_url, 0))) for _ in range(2)]
        runs = [*(relay.run for relay in relays), *(replica.run for replica in replicas)]
        await stack.enter_async_context(background(*runs))
        await world.tell(facts[:200])

        async def arrived(told: Sequence[Fact]) -> bool:
            rows = [(await board.page(ALL_TIME, None, 100)).rows for board in boards]
            expected = recomputed(told, Timeframe.ALL_TIME)
            return all([row.place for row in each] == expected for each in rows)

        await eventually(lambda: arrived(facts[:200]), within=90)
        await world.tell(facts[200:300])
        fresh_broker.kill()
        await world.tell(facts[300:])
        fresh_broker.start()
        await eventually(lambda: arrived(facts), within=90)
        for timeframe in Timeframe:
            part = await boards[0].page(windows.window_of(timeframe, NOW), None, 100)
            assert [row.place for row in part.rows] == recomputed(facts, timeframe)

    async def let_go() -> bool:
        return not kafka._owned

    # Who was still joining its group is not closed before that is over: as long as there is a broker.
    await eventually(let_go, within=90)


async def test_a_replay_from_nothing_gives_the_same_books_to_the_byte(world: World, database: Database) -> None:
    facts = lives(300)
    for start in range(0, len(facts), 50):
        await world.tell(facts[start : start + 50])
        await apply(world.postgres, facts[start : start + 50])
    for each in (world.referral, world.distribution):
        await each.number()
    lived = await books(world.postgres)
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as fresh:
        await World(world.referral, world.distribution, fresh, world.clock).replay()
        assert await books(fresh) == lived
        await World(world.referral, world.distribution, fresh, world.clock).replay()
        assert await books(fresh) == lived


async def test_an_event_that_makes_no_sense_is_put_aside_and_the_rest_counts(world: World) -> None:
    good = Referral(creator(1), NOW)
    nobody = Registration(referrer_ref="nobody")
    early = registration(Referral(creator(1), NOW.replace(year=1969)))
    never = Registration(referrer_ref=str(creator(1)), registered_at=Timestamp(seconds=10**15))
    negative = finalized([Share(creator(1), NOW, -5)])
    await world.referral.append([(message, "key", 0) for message in (registration(good), nobody, early, never)])
    await world.referral.append([(registration(good), "key", 0)])
    ghost, late, binary = (finalized([Share(creator(1), NOW, 5)]) for _ in range(3))
    ghost.charges[0].payer_ref = "nobody"
    late.charges[0].finalized_at.seconds = 10**12
    binary.charges[0].model = "a\0b"
    await world.distribution.append([(message, "0", 0) for message in (negative, ghost, late, binary)])
    await world.distribution.append([(finalized([Share(creator(1), NOW, 7)]), "0", 0)])
    for each in (world.referral, world.distribution):
        await each.number()
    await world.replay()
    async with world.postgres.connection() as connection:
        row = await connection.fetchrow("SELECT referral_count, earned_micro FROM places WHERE timeframe = 4")
        assert row is not None
        assert tuple(row) == (2, 7)
        assert await connection.fetchval("SELECT count(*) FROM dead_letters") == 7


async def test_the_end_of_time_is_a_day_like_any_other(world: World) -> None:
    last = NOW.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59, microsecond=999_999)
    await apply(world.postgres, [Referral(creator(1), last), Share(creator(1), last, 7), Referral(creator(1), NOW)])
    async with world.postgres.connection() as connection:
        starts = await connection.fetch("SELECT window_start FROM places WHERE referred_at = $1", last)
    assert {start for (start,) in starts} == {date.max, date(9999, 12, 27), date(9999, 12, 1), date.min}


async def test_a_charge_counts_in_the_four_windows_of_its_own_time(world: World) -> None:
    midnight = NOW.replace(year=2027, month=1, day=1, hour=0)
    await apply(world.postgres, [Share(creator(1), midnight - timedelta(microseconds=1), 70)])
    await apply(world.postgres, [Share(creator(1), midnight, 7)])
    async with world.postgres.connection() as connection:
        rows = await connection.fetch(
            "SELECT timeframe, window_start, earned_micro, earned_at FROM places ORDER BY timeframe, window_start"
        )
    before = midnight - timedelta(microseconds=1)
    assert [tuple(row) for row in rows] == [
        (1, date(2026, 12, 31), 70, before),
        (1, date(2027, 1, 1), 7, midnight),
        (2, date(2026, 12, 28), 77, midnight),
        (3, date(2026, 12, 1), 70, before),
        (3, date(2027, 1, 1), 7, midnight),
        (4, date.min, 77, midnight),
    ]


async def test_a_charge_that_counts_for_nobody_is_left_out(world: World) -> None:
    ensemble = finalized([Share(creator(1), NOW, 100, "mix"), Share(creator(2), NOW, 0), Share(None, NOW, 9)])
    for model, amount_micro in (("gpt", 2), ("glm", 1), ("gpt", 0)):
        ensemble.charges[0].model_breakdown.add(model=model, amount_micro=amount_micro)
    async with world.postgres.transaction() as connection:
        await consumers.charges(connection, [received(ensemble)])
        models = await connection.fetch("SELECT creator_ref, model, charges, accrued_micro FROM earning_days")
        places = await connection.fetch("SELECT DISTINCT creator_ref, earned_micro FROM places")
    assert {tuple(row) for row in models} == {(creator(1), "gpt", 1, 67), (creator(1), "glm", 0, 33)}
    assert [tuple(row) for row in places] == [(creator(1), 100)]


async def test_as_of_is_when_everything_published_was_applied(world: World) -> None:
    catching_up, start = world.catching_up(), world.clock.now()
    assert (await world.as_of()).year == 1970
    await world.tell([Referral(creator(1), ago(days=2)), Share(creator(1), ago(days=1), 5)])
    for each in (world.referral, world.distribution):
        await each.number()
    await catching_up.look()
    await catching_up.look()
    assert (await world.as_of()).year == 1970  # told, but not applied
    await world.replay()
    assert await world.as_of() == ago(days=1)  # until it is known more exactly: the newest that is applied
    await catching_up.look()
    assert await world.as_of() == start
    world.clock.advance(timedelta(hours=1))
    await catching_up.look()
    assert await world.as_of() == start
    await catching_up.look()
    assert await world.as_of() == start + timedelta(hours=1)
    # A replica that is behind with its own looks takes nothing back.
    world.clock.advance(timedelta(hours=1))
    await world.tell([Referral(creator(1), NOW)])
    await world.referral.number()
    await catching_up.look()
    await catching_up.look()
    assert await world.as_of() == start + timedelta(hours=1)


async def test_as_of_moves_on_while_events_never_stop(world: World) -> None:
    catching_up = world.catching_up()
    instants = []
    for _ in range(5):
        await world.tell([Referral(creator(1), NOW)])
        await world.referral.number()
        await catching_up.look()
        await world.replay()
        world.clock.advance(timedelta(seconds=1))
        instants.append(await world.as_of())
    assert instants == sorted(instants)
    assert instants[-1] >= NOW + timedelta(seconds=2)


async def test_as_of_waits_for_publishers_that_do_not_answer(world: World, eventually: Eventually) -> None:
    async with rpc.channel("127.0.0.1:1", caller="leaderboard") as nowhere:
        lost = CatchingUp(world.postgres, world.clock, {"referral.standing.v1": EventLogServiceStub(nowhere)}, 0.01)
        async with background(lost.run, world.catching_up().run):

            async def known() -> bool:
                return bool(await world.as_of() == NOW)

            await eventually(known)
