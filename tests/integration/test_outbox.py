"""From a command's transaction to the event log and the broker: nothing lost, nothing twice, no gap."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from libs import outbox
from libs.eventlog import EventLogServicer, PageTooLarge, PartitionUnknown, TopicUnknown
from libs.kafka import Publisher
from libs.outbox import Record, Relay
from libs.telemetry import traceparent
from protos.distribution.v1.events_pb2 import ChargeFinalized, ChargesFinalized
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration
from tests.support.events import NOON, TOPIC, Eventually, Pair, running
from tests.support.sessions import kill_everyone, kill_leader

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00"
CONTEXT: Any = None


class Shelf:
    """A broker that keeps what it acknowledged, and may be down or slow."""

    def __init__(self) -> None:
        self.kept: list[events_pb2.Event] = []
        self.down = False

    async def publish(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise OSError("down")
        self.kept += [events_pb2.Event.FromString(record.value) for record in records]

    def positions(self, partition: int) -> list[int]:
        return [event.position for event in self.kept if event.partition == partition]


def keys(count: int) -> list[str]:
    return [f"k{number}" for number in range(count)]


def same_partition(count: int, partition: int = 0) -> list[str]:
    found = (key for key in keys(100_000) if outbox.partition_of(key, TOPIC.partitions) == partition)
    return [next(found) for _ in range(count)]


async def assert_gapless(mesh: Pair, count: int) -> None:
    heads = await mesh.heads()
    assert sum(heads.values()) == count
    for partition, head in heads.items():
        assert [event.position for event in await mesh.events(partition)] == list(range(1, head + 1))


async def rows_waiting(mesh: Pair) -> int:
    async with mesh.publisher.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM outbox")
    return count


class TestAppending:
    async def test_an_event_keeps_what_it_was_appended_with(self, mesh: Pair) -> None:
        token = traceparent.set(TRACE)
        await mesh.append(["k1"])
        traceparent.reset(token)
        await mesh.number()
        partition = outbox.partition_of("k1", TOPIC.partitions)
        [event] = await mesh.events(partition)
        assert (event.topic, event.partition, event.position, event.key) == (TOPIC.name, partition, 1, "k1")
        assert event.traceparent == TRACE
        assert event.occurred_at.ToDatetime(NOON.tzinfo) == NOON
        assert Registration.FromString(event.payload) == Registration(account_ref="k1")

    async def test_events_of_one_transaction_keep_their_order(self, mesh: Pair) -> None:
        wanted = same_partition(300)
        await mesh.append(wanted)
        await mesh.number()
        assert [event.key for event in await mesh.events(0)] == wanted

    async def test_a_partition_may_be_chosen(self, mesh: Pair) -> None:
        async with mesh.publisher.transaction() as connection:
            await outbox.append(connection, Registration(), key="x", occurred_at=NOON, partition=3)
        await mesh.number()
        assert await mesh.heads() == {3: 1}

    @pytest.mark.parametrize("partition", [-1, TOPIC.partitions, 40_000])
    async def test_a_partition_that_the_topic_lacks_is_refused(self, mesh: Pair, partition: int) -> None:
        async with mesh.publisher.transaction() as connection:
            with pytest.raises(ValueError, match="partitions"):
                await outbox.append(connection, Registration(), key="x", occurred_at=NOON, partition=partition)

    async def test_what_is_rolled_back_leaves_no_gap(self, mesh: Pair) -> None:
        async def fail() -> None:
            async with mesh.publisher.transaction() as connection:
                await outbox.append(connection, Registration(), key="lost", occurred_at=NOON)
                raise RuntimeError

        await mesh.append(keys(5))
        with pytest.raises(RuntimeError):
            await fail()
        await mesh.append(keys(5))
        await mesh.number()
        await assert_gapless(mesh, 10)

    async def test_what_commits_late_is_numbered_late_and_not_lost(self, mesh: Pair) -> None:
        first, second = same_partition(2)
        async with mesh.publisher.transaction() as slow:
            await outbox.append(slow, Registration(), key=first, occurred_at=NOON)
            await mesh.append([second])
            await mesh.number()
            assert await mesh.heads() == {0: 1}
        await mesh.number()
        assert [event.key for event in await mesh.events(0)] == [second, first]

    async def test_an_event_that_no_answer_could_carry_is_refused(self, mesh: Pair) -> None:
        with pytest.raises(ValueError, match="make several"):
            await mesh.append(["x" * 3 * 1024 * 1024])


class TestJoining:
    """Rows of a topic that allows it become one event: fewer positions, the same facts in the same order."""

    JOINED = outbox.topic_of(ChargesFinalized)

    async def _append(self, mesh: Pair, *names: str, partition: int = 0) -> None:
        message = ChargesFinalized(charges=[ChargeFinalized(inference_charge_id=name) for name in names])
        async with mesh.publisher.transaction() as connection:
            await outbox.append(connection, message, key=str(partition), occurred_at=NOON, partition=partition)

    async def _move(self, mesh: Pair) -> outbox.Moved:
        async with mesh.publisher.connection() as connection:
            return await outbox.move(connection, [self.JOINED])

    async def _events(self, mesh: Pair, partition: int = 0) -> list[events_pb2.Event]:
        async with mesh.publisher.connection() as connection:
            return await outbox.list_events(connection, self.JOINED.name, partition, 0, 1000)

    async def _told(self, mesh: Pair, partition: int = 0) -> list[list[str]]:
        messages = [ChargesFinalized.FromString(event.payload) for event in await self._events(mesh, partition)]
        return [[charge.inference_charge_id for charge in message.charges] for message in messages]

    async def test_rows_of_a_partition_become_one_event_in_their_order(self, mesh: Pair) -> None:
        await self._append(mesh, "a", "b")
        await self._append(mesh, "z", partition=1)
        await self._append(mesh, "c")
        await self._append(mesh, "d", "e")
        assert await self._move(mesh) == (4, 2)
        assert await self._told(mesh) == [["a", "b", "c", "d", "e"]]
        assert await self._told(mesh, 1) == [["z"]]
        await self._append(mesh, "f")
        assert await self._move(mesh) == (1, 1)
        assert [event.position for event in await self._events(mesh)] == [1, 2]

    async def test_what_is_traced_begins_an_event(self, mesh: Pair) -> None:
        await self._append(mesh, "a")
        sampled = f"{TRACE[:-2]}01"
        token = traceparent.set(sampled)
        await self._append(mesh, "b")
        await self._append(mesh, "c")
        traceparent.reset(token)
        await self._append(mesh, "d")
        await self._move(mesh)
        assert await self._told(mesh) == [["a"], ["b"], ["c", "d"]]
        assert [event.traceparent for event in await self._events(mesh)] == ["", sampled, sampled]

    async def test_no_event_grows_without_end(self, mesh: Pair) -> None:
        names = [f"{number:04}" + "x" * 30_000 for number in range(40)]
        for name in names:
            await self._append(mesh, name)
        await self._move(mesh)
        told = await self._told(mesh)
        assert [name for each in told for name in each] == names
        assert 5 < len(told) < 20

    async def test_movers_that_all_believe_they_lead_tell_each_row_once_and_in_order(self, mesh: Pair) -> None:
        names = [str(number) for number in range(3000)]
        for start in range(0, 3000, 3):
            await self._append(mesh, *names[start : start + 3])

        async def mover() -> None:
            while await rows_waiting(mesh):
                await self._move(mesh)

        await asyncio.gather(*(mover() for _ in range(4)), *(self._append(mesh, f"late-{n}") for n in range(50)))
        await mover()
        told = [name for each in await self._told(mesh) for name in each]
        assert [name for name in told if not name.startswith("late")] == names
        assert len(told) == len(set(told)) == 3050


class TestNumbering:
    async def test_movers_that_all_believe_they_lead_leave_no_gap_and_no_double(self, mesh: Pair) -> None:
        for start in range(0, 6000, 500):
            await mesh.append([f"k{number}" for number in range(start, start + 500)])

        async def mover() -> None:
            while await rows_waiting(mesh):
                async with mesh.publisher.connection() as connection:
                    await outbox.move(connection)

        await asyncio.gather(*(mover() for _ in range(4)))
        await assert_gapless(mesh, 6000)

    async def test_a_mover_killed_at_any_moment_loses_nothing(self, mesh: Pair) -> None:
        dice = random.Random(7)
        await mesh.append(keys(3000))
        for _ in range(40):
            connection = await mesh.publisher.dedicated()
            moving = asyncio.create_task(outbox.move(connection))
            await asyncio.sleep(dice.uniform(0, 0.02))
            connection.terminate()
            await asyncio.gather(moving, return_exceptions=True)
            await mesh.append(["late"])
        await mesh.number()
        await assert_gapless(mesh, 3040)

    async def test_positions_are_given_while_the_broker_is_down_and_sent_when_it_is_back(
        self, mesh: Pair, eventually: Eventually
    ) -> None:
        shelf = Shelf()
        shelf.down = True

        async def numbered() -> bool:
            return await mesh.heads() == {0: 700}

        async with running(Relay(mesh.publisher, shelf).run()):
            await mesh.append(same_partition(700))
            await eventually(numbered)
            assert shelf.kept == []
            shelf.down = False
            await eventually(lambda: shelf.positions(0) == list(range(1, 701)))


class TestRelay:
    async def test_a_relay_cut_off_again_and_again_sends_everything_in_order(
        self, mesh: Pair, eventually: Eventually
    ) -> None:
        dice = random.Random(11)
        shelf = Shelf()
        relay = Relay(mesh.publisher, shelf)
        for _ in range(60):
            await mesh.append(keys(20))
            await mesh.number()
            sending = asyncio.create_task(relay.publish_once())
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(dice.choice((0, 0, 0.0005)))
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        while await relay.publish_once():
            pass
        for partition, head in (await mesh.heads()).items():
            sent = shelf.positions(partition)
            # Some twice, where it was cut off between the acknowledgement and the note of it; none too early.
            assert sorted(set(sent)) == list(range(1, head + 1))
            assert all(later <= max(sent[: place + 1]) + 1 for place, later in enumerate(sent[1:]))

    async def test_one_leads_and_the_other_follows_when_it_is_killed(self, mesh: Pair, eventually: Eventually) -> None:
        shelf = Shelf()
        async with running(Relay(mesh.publisher, shelf).run(), Relay(mesh.publisher, shelf).run()):
            for round_number in range(1, 4):
                await mesh.append(same_partition(50))
                await eventually(lambda wanted=50 * round_number: len(set(shelf.positions(0))) == wanted, within=60)
                assert await kill_leader(mesh.dsn) == 1
        await assert_gapless(mesh, 150)
        assert sorted(set(shelf.positions(0))) == list(range(1, 151))

    async def test_a_topic_that_cannot_be_sent_holds_up_no_other(self, mesh: Pair) -> None:
        class Half(Shelf):
            async def publish(self, records: Sequence[Record]) -> None:
                self.down = records[0].topic.name == TOPIC.name
                await super().publish(records)

        shelf = Half()
        await mesh.append(keys(5))
        async with mesh.publisher.transaction() as connection:
            topic = outbox.Topic("zzz", 1)
            await outbox.append_to(connection, topic, Registration(), key="k", occurred_at=NOON)
        await mesh.number()
        with pytest.raises(OSError, match="down"):
            await Relay(mesh.publisher, shelf).publish_once()
        assert [event.topic for event in shelf.kept] == ["zzz"]

    async def test_a_restart_of_the_database_is_lived_through(self, mesh: Pair, eventually: Eventually) -> None:
        shelf = Shelf()
        async with running(Relay(mesh.publisher, shelf).run()):
            await mesh.append(same_partition(3))
            await eventually(lambda: len(set(shelf.positions(0))) == 3)
            await kill_everyone(mesh.dsn)

            async def appended() -> bool:
                await mesh.append(same_partition(3))
                return True

            await eventually(appended)
            await eventually(lambda: len(set(shelf.positions(0))) == 6, within=60)

    async def test_an_event_too_large_for_the_broker_stops_nothing(
        self, mesh: Pair, kafka_bootstrap: str, eventually: Eventually
    ) -> None:
        async with mesh.publisher.transaction() as connection:
            large = Registration(channel="x" * 2_000_000)
            await outbox.append_many(connection, [(large, "a", 0), (Registration(), "b", 0)], occurred_at=NOON)
        await mesh.number()
        publisher = Publisher(kafka_bootstrap, idempotent=False)
        try:
            relay = Relay(mesh.publisher, publisher)
            while await relay.publish_once():
                pass
        finally:
            await publisher.close()
        async with mesh.publisher.connection() as connection:
            assert await connection.fetchval("SELECT published FROM event_heads") == 2


class TestEventLog:
    async def test_events_are_listed_from_a_position_on(self, mesh: Pair) -> None:
        await mesh.append(same_partition(10))
        await mesh.number()
        request = events_pb2.ListEventsRequest(topic=TOPIC.name, after_position=4, page_size=3)
        answer = await EventLogServicer(mesh.publisher).ListEvents(request, CONTEXT)
        assert [event.position for event in answer.events] == [5, 6, 7]

    async def test_after_the_last_event_there_is_nothing(self, mesh: Pair) -> None:
        request = events_pb2.ListEventsRequest(topic=TOPIC.name, after_position=9)
        assert not (await EventLogServicer(mesh.publisher).ListEvents(request, CONTEXT)).events

    async def test_a_page_is_bounded_by_its_bytes_and_never_empty(self, mesh: Pair) -> None:
        async with mesh.publisher.transaction() as connection:
            sizes = (900_000, 900_000, 900_000, 2_900_000, 1)
            entries = [(Registration(channel="x" * size), str(size), 0) for size in sizes]
            await outbox.append_many(connection, entries, occurred_at=NOON)
        await mesh.number()
        servicer = EventLogServicer(mesh.publisher)
        pages, last = [], 0
        while True:
            request = events_pb2.ListEventsRequest(topic=TOPIC.name, after_position=last)
            answer = await servicer.ListEvents(request, CONTEXT)
            if not answer.events:
                break
            assert answer.ByteSize() < 4 * 1024 * 1024
            pages.append(len(answer.events))
            last = answer.events[-1].position
        assert pages == [2, 1, 1, 1]

    async def test_heads_name_every_partition(self, mesh: Pair) -> None:
        await mesh.append(same_partition(3, partition=2))
        await mesh.number()
        answer = await EventLogServicer(mesh.publisher).ListHeads(
            events_pb2.ListHeadsRequest(topic=TOPIC.name), CONTEXT
        )
        assert [(head.partition, head.position) for head in answer.heads] == [(0, 0), (1, 0), (2, 3), (3, 0)]

    async def test_what_is_not_published_here_is_refused(self, mesh: Pair) -> None:
        servicer = EventLogServicer(mesh.publisher)
        with pytest.raises(TopicUnknown):
            await servicer.ListEvents(events_pb2.ListEventsRequest(topic="distribution.finalized.v1"), CONTEXT)
        with pytest.raises(TopicUnknown):
            await servicer.ListHeads(events_pb2.ListHeadsRequest(topic=""), CONTEXT)
        with pytest.raises(PartitionUnknown):
            await servicer.ListEvents(events_pb2.ListEventsRequest(topic=TOPIC.name, partition=4), CONTEXT)
        with pytest.raises(PageTooLarge):
            await servicer.ListEvents(events_pb2.ListEventsRequest(topic=TOPIC.name, page_size=1001), CONTEXT)
