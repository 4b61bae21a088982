"""Whatever arrives, again, late, mixed up or not at all: each event is applied once and in its order."""

import asyncio
import random
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import asyncpg
import grpc
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from libs import outbox
from libs.inbox import (
    BATCH_MAX,
    DEAD_IN_A_ROW_MAX,
    EventsMissing,
    Inbox,
    LogUnanswered,
    Received,
    Subscription,
    TooManyDeadLetters,
)
from libs.postgres import Connection, Postgres, Timeouts
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration
from tests.support.events import NOON, TOPIC, Pair, Unanswered

PARTITION = 0


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def inbox(mesh: Pair) -> Inbox:
    return Inbox(mesh.listener, "leaderboard")


def keys(count: int) -> list[str]:
    found = (key for key in map(str, range(1_000_000)) if outbox.partition_of(key, TOPIC.partitions) == PARTITION)
    return [next(found) for _ in range(count)]


async def published(mesh: Pair, count: int) -> list[events_pb2.Event]:
    await mesh.append(keys(count))
    await mesh.number()
    return await mesh.events(PARTITION)


async def dead_letters(mesh: Pair) -> list[tuple[int, str]]:
    async with mesh.listener.connection() as connection:
        rows = await connection.fetch("SELECT position, error FROM dead_letters ORDER BY position")
    return [(row["position"], row["error"]) for row in rows]


async def positions_applied(mesh: Pair) -> list[int]:
    return (await mesh.applied()).get(PARTITION, [])


class TestOrder:
    async def test_events_that_come_again_are_skipped(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 10)
        for _ in range(3):
            await inbox.receive(mesh.subscription, PARTITION, events)
        await inbox.receive(mesh.subscription, PARTITION, events * 2)
        await mesh.assert_once_and_in_order(10)

    async def test_events_that_come_in_another_order_are_applied_in_theirs(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 50)
        random.Random(3).shuffle(events)
        await inbox.receive(mesh.subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(50)
        assert mesh.log.asked == 0

    async def test_what_is_missing_is_asked_of_the_publisher(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 1700)
        await inbox.receive(mesh.subscription, PARTITION, [*events[:3], events[10], *events[1600:]])
        await mesh.assert_once_and_in_order(1700)
        assert mesh.log.asked > 0

    async def test_more_than_a_batch_is_applied_batch_by_batch(self, mesh: Pair, inbox: Inbox) -> None:
        await inbox.receive(mesh.subscription, PARTITION, await published(mesh, 2 * BATCH_MAX + 1))
        await mesh.assert_once_and_in_order(2 * BATCH_MAX + 1)

    async def test_a_publisher_that_does_not_answer_is_waited_for(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 10)
        mesh.log.down = True
        with pytest.raises(LogUnanswered) as fault:
            await inbox.receive(mesh.subscription, PARTITION, [*events[:2], *events[5:]])
        assert mesh.subscription.passing(fault.value)
        assert await positions_applied(mesh) == [1, 2]
        mesh.log.down = False
        await inbox.receive(mesh.subscription, PARTITION, events[5:])
        await mesh.assert_once_and_in_order(10)

    async def test_what_even_the_publisher_lacks_is_never_jumped_over(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 5)
        async with mesh.publisher.connection() as connection:
            await connection.execute("DELETE FROM events WHERE position >= 3")
        with pytest.raises(EventsMissing):
            await inbox.receive(mesh.subscription, PARTITION, events[3:])
        assert await positions_applied(mesh) == [1, 2]

    async def test_two_members_given_the_same_events_apply_them_once(self, mesh: Pair) -> None:
        events = await published(mesh, 1200)
        members = [Inbox(mesh.listener, "leaderboard") for _ in range(4)]
        await asyncio.gather(
            *(
                member.receive(mesh.subscription, PARTITION, events[place * 100 :])
                for place, member in enumerate(members)
            )
        )
        await mesh.assert_once_and_in_order(1200)

    async def test_a_handler_is_given_what_was_published(self, mesh: Pair, inbox: Inbox) -> None:
        seen: list[Received[Registration]] = []

        async def handler(_connection: Connection, events: Sequence[Received[Registration]]) -> None:
            seen.extend(events)

        [event] = await published(mesh, 1)
        subscription = Subscription(Registration, handler, mesh.subscription.log)
        await inbox.receive(subscription, PARTITION, [event])
        [received] = seen
        assert str(received.event_id) == event.event_id
        assert (received.position, received.key, received.occurred_at) == (1, event.key, NOON)
        assert received.message == Registration(account_ref=event.key)


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            asyncpg.SerializationError(),
            asyncpg.DeadlockDetectedError(),
            asyncpg.ConnectionDoesNotExistError(),
            asyncpg.CannotConnectNowError(),
            asyncpg.LockNotAvailableError(),
            asyncpg.DiskFullError(),
            Unanswered(),
            ConnectionResetError(),
            TimeoutError(),
            ExceptionGroup("both", [OSError(), asyncpg.DeadlockDetectedError()]),
        ],
        ids=lambda fault: type(fault).__name__,
    )
    async def test_a_fault_that_passes_makes_no_dead_letter(self, mesh: Pair, inbox: Inbox, fault: Exception) -> None:
        events = await published(mesh, 3)
        mesh.faults = [fault]
        with pytest.raises(type(fault)):
            await inbox.receive(mesh.subscription, PARTITION, events)
        assert await dead_letters(mesh) == []
        await inbox.receive(mesh.subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(3)

    async def test_what_takes_too_long_together_is_applied_in_parts(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 64)
        mine = mesh.subscription

        async def slow(connection: Connection, some: Sequence[Received[Registration]]) -> None:
            await connection.execute("SELECT pg_sleep($1)", 0.02 * len(some))
            await mine.handler(connection, some)

        hasty = Timeouts(statement=0.5)
        async with await Postgres.open(mesh.dsn, schema="leaderboard", timeouts=hasty) as postgres:
            subscription = Subscription(Registration, slow, mine.log)
            await Inbox(postgres, "leaderboard").receive(subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(64)
        assert await dead_letters(mesh) == []

    async def test_an_event_that_always_takes_too_long_is_tried_again_and_not_given_up(
        self, mesh: Pair, inbox: Inbox
    ) -> None:
        events = await published(mesh, 4)
        mesh.faults = [asyncpg.QueryCanceledError() for _ in range(3)]
        with pytest.raises(asyncpg.QueryCanceledError):
            await inbox.receive(mesh.subscription, PARTITION, events)
        await inbox.receive(mesh.subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(4)

    async def test_what_else_passes_is_the_subscriptions_to_say(self, mesh: Pair, inbox: Inbox) -> None:
        class StoreDown(Exception):
            pass

        mine = mesh.subscription
        subscription = Subscription(Registration, mine.handler, mine.log, faults=(StoreDown,))
        events = await published(mesh, 3)
        mesh.faults = [StoreDown()]
        with pytest.raises(StoreDown):
            await inbox.receive(subscription, PARTITION, events)
        await inbox.receive(subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(3)

    def test_a_refusal_of_another_service_does_not_pass(self, mesh: Pair) -> None:
        metadata = grpc.aio.Metadata()
        refused = grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, metadata, metadata)
        assert not mesh.subscription.passing(refused)
        assert not mesh.subscription.passing(ExceptionGroup("both", [OSError(), ValueError()]))

    async def test_a_listener_killed_at_any_moment_applies_once(self, mesh: Pair) -> None:
        dice = random.Random(5)
        events = await published(mesh, 3000)
        for _ in range(40):
            start = dice.randrange(len(events))
            received = Inbox(mesh.listener, "leaderboard").receive(mesh.subscription, PARTITION, events[start:])
            task = asyncio.create_task(received)
            await asyncio.sleep(dice.uniform(0, 0.05))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await Inbox(mesh.listener, "leaderboard").receive(mesh.subscription, PARTITION, events)
        await mesh.assert_once_and_in_order(3000)


class TestDeadLetters:
    async def test_one_bad_event_is_put_aside_and_all_others_are_applied(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 500)
        mesh.poison = {events[123].key}
        await inbox.receive(mesh.subscription, PARTITION, events)
        assert await positions_applied(mesh) == [*range(1, 124), *range(125, 501)]
        assert await dead_letters(mesh) == [(124, "ValueError")]
        assert await inbox.position(mesh.subscription, PARTITION) == 500

    async def test_a_dead_letter_is_published_as_it_came(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 1)
        mesh.poison = {events[0].key}
        await inbox.receive(mesh.subscription, PARTITION, events)
        async with mesh.listener.connection() as connection:
            assert await connection.fetchval("SELECT event FROM dead_letters") == events[0].SerializeToString()
            row = await connection.fetchrow("SELECT topic, partition, payload FROM outbox")
        assert row is not None
        letter = events_pb2.DeadLetter.FromString(row["payload"])
        assert (row["topic"], row["partition"]) == (f"{TOPIC.name}.dead.leaderboard", 0)
        assert (letter.event, letter.service, letter.error) == (events[0], "leaderboard", "ValueError")

    @pytest.mark.parametrize(
        "spoil",
        [{"payload": b"\xff\xff"}, {"event_id": "no uuid"}, {"occurred_at": Timestamp()}],
        ids=["payload", "event id", "time"],
    )
    async def test_an_event_that_cannot_be_read_is_put_aside(
        self, mesh: Pair, inbox: Inbox, spoil: dict[str, Any]
    ) -> None:
        events = await published(mesh, 3)
        events[1].MergeFrom(events_pb2.Event(**spoil))
        if "occurred_at" in spoil:
            events[1].ClearField("occurred_at")
        await inbox.receive(mesh.subscription, PARTITION, events)
        assert await positions_applied(mesh) == [1, 3]
        assert [position for position, _ in await dead_letters(mesh)] == [2]

    async def test_too_many_in_a_row_stop_the_service(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 100)
        mesh.poison = {event.key for event in events}
        with pytest.raises(TooManyDeadLetters):
            await inbox.receive(mesh.subscription, PARTITION, events)
        assert len(await dead_letters(mesh)) == DEAD_IN_A_ROW_MAX
        assert await inbox.position(mesh.subscription, PARTITION) == DEAD_IN_A_ROW_MAX

    async def test_a_bad_release_that_starts_again_and_again_throws_away_no_more(self, mesh: Pair) -> None:
        events = await published(mesh, 100)
        mesh.poison = {event.key for event in events}
        for _ in range(4):
            with pytest.raises(TooManyDeadLetters):
                await Inbox(mesh.listener, "leaderboard").receive(mesh.subscription, PARTITION, events)
        assert len(await dead_letters(mesh)) == DEAD_IN_A_ROW_MAX

    async def test_more_than_half_of_the_last_hundred_stop_the_service(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 300)
        mesh.poison = {event.key for event in events if event.position % 3}

        async def one_by_one() -> None:
            for event in events:
                await inbox.receive(mesh.subscription, PARTITION, [event])

        with pytest.raises(TooManyDeadLetters):
            await one_by_one()
        assert await inbox.position(mesh.subscription, PARTITION) < 105

    async def test_a_good_release_goes_on_where_the_bad_one_stopped(self, mesh: Pair, inbox: Inbox) -> None:
        events = await published(mesh, 100)
        mesh.poison = {event.key for event in events}
        with pytest.raises(TooManyDeadLetters):
            await inbox.receive(mesh.subscription, PARTITION, events)
        mesh.poison = set()
        await Inbox(mesh.listener, "leaderboard").receive(mesh.subscription, PARTITION, events)
        assert await positions_applied(mesh) == list(range(DEAD_IN_A_ROW_MAX + 1, 101))
