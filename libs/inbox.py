"""Events applied exactly once: the effect and the position are written in one transaction.

A position that was applied is skipped, a gap is fetched from the publisher's event log, an event that cannot be applied
is put aside as a dead letter, within a limit.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import Counter

from libs import outbox
from libs.outbox import Topic, topic_of
from libs.postgres import CONFLICTS, Connection, Postgres, is_fault
from libs.refusals import Unavailable
from libs.telemetry import foremost, logger, span
from libs.timestamps import to_datetime
from protos.events.v1 import events_pb2, events_pb2_grpc

log = logger(__name__)

M = TypeVar("M", bound=Message)

APPLIED = Counter("creator_inbox_applied_events_total", "Events applied.", ["service", "topic"])
DEAD = Counter("creator_inbox_dead_letters_total", "Events given up.", ["service", "topic"])

BATCH_MAX = 500
DEAD_IN_A_ROW_MAX = 20
DEAD_WINDOW = 100
_LOG_TIMEOUT_S = 10.0
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,  # by the other side, when it drains
)
_TOO_SLOW = (asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError)
"""More than fits into the time of a statement or a transaction: fewer events may fit."""


class Received(NamedTuple, Generic[M]):
    """An event as a handler gets it."""

    position: int
    event_id: UUID
    occurred_at: datetime
    key: str
    message: M


Handler = Callable[[Connection, Sequence[Received[M]]], Awaitable[None]]
"""Applies events of one partition in their order, within the transaction that advances the position."""


@dataclass(frozen=True)
class Subscription(Generic[M]):
    """What a service listens to, how it applies it, and whom it asks for what it missed."""

    message_type: type[M]
    handler: Handler[M]
    log: events_pb2_grpc.EventLogServiceStub
    faults: tuple[type[Exception], ...] = ()
    """What else the handler may raise that ends by itself: another store that is down."""

    @property
    def topic(self) -> Topic:
        """Where its events are published."""
        return topic_of(self.message_type)

    def passing(self, error: BaseException) -> bool:
        """True for a fault that ends by itself: the events are tried again, never given up."""
        if isinstance(error, BaseExceptionGroup):
            return all(self.passing(each) for each in error.exceptions)
        if isinstance(error, grpc.aio.AioRpcError):
            return error.code() in _PASSING
        return is_fault(error) or isinstance(error, (*CONFLICTS, Unavailable, *self.faults))


class EventsMissing(Unavailable):
    """The publisher's event log does not have what the broker had."""


class LogUnanswered(Unavailable):
    """The publisher's event log does not answer."""


@contextmanager
def asking_the_log() -> Iterator[None]:
    """Whatever the log answers but events is waited out: also a publisher that is older than its listener."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise LogUnanswered(code=error.code().name) from error


class TooManyDeadLetters(Exception):
    """So many events cannot be applied that the fault must be here: stop rather than throw everything away."""


class Inbox:
    """Applies the events of one service's subscriptions."""

    def __init__(self, postgres: Postgres, service: str) -> None:
        self._postgres = postgres
        self._service = service
        self._recent: deque[bool] = deque(maxlen=DEAD_WINDOW)
        self._dead_in_a_row = 0

    async def receive(
        self, subscription: Subscription[Any], partition: int, events: Sequence[events_pb2.Event]
    ) -> None:
        """Applies events that came from the broker, in whatever order, again or with some missing.

        Raises a passing fault (call again), or TooManyDeadLetters.
        """
        ordered = sorted(events, key=lambda event: event.position)
        while ordered:
            last = await self._apply(subscription, partition, ordered[:BATCH_MAX])
            ordered = [event for event in ordered if event.position > last]
            if ordered and ordered[0].position > last + 1:
                before = ordered[0].position - 1
                last = await self.catch_up(subscription, partition, last, before)
                if last < before:
                    raise EventsMissing(topic=subscription.topic.name, partition=partition, after=last)
                ordered = [event for event in ordered if event.position > last]

    async def catch_up(self, subscription: Subscription[Any], partition: int, last: int, head: int) -> int:
        """Fetches and applies, from the publisher, what follows on a position up to another one; returns how far."""
        while last < head:
            request = events_pb2.ListEventsRequest(
                topic=subscription.topic.name, partition=partition, after_position=last, page_size=BATCH_MAX
            )
            with asking_the_log():
                page = (await subscription.log.ListEvents(request, timeout=_LOG_TIMEOUT_S)).events
            log.info("fetched what was missing", topic=request.topic, partition=partition, after=last, events=len(page))
            reached = await self._apply(subscription, partition, page) if page else last
            if reached == last:
                break
            last = reached
        return last

    async def position(self, subscription: Subscription[Any], partition: int) -> int:
        """The last position applied; 0 for none."""
        async with self._postgres.connection() as connection:
            position: int | None = await connection.fetchval(
                "SELECT position FROM inbox WHERE topic = $1 AND partition = $2", subscription.topic.name, partition
            )
        return position or 0

    async def _apply(self, subscription: Subscription[Any], partition: int, events: Sequence[events_pb2.Event]) -> int:
        """Applies what follows on what was applied; returns the last position. Bisects down to a bad event."""
        try:
            last = await self._apply_together(subscription, partition, events)
        except Exception as error:
            if subscription.passing(error) and (len(events) == 1 or not isinstance(error, _TOO_SLOW)):
                raise
            if len(events) == 1:
                return await self._put_aside(subscription, partition, events[0], error)
            half = len(events) // 2
            last = await self._apply(subscription, partition, events[:half])
            return max(last, await self._apply(subscription, partition, events[half:]))
        self._went_well(len(events))
        return last

    async def _apply_together(
        self, subscription: Subscription[Any], partition: int, events: Sequence[events_pb2.Event]
    ) -> int:
        topic = subscription.topic.name
        async with self._postgres.transaction() as connection:
            last = await _lock_position(connection, topic, partition)
            following = list(_following(events, last))
            if not following:
                return last
            received = [_received(subscription.message_type, event) for event in following]
            with span(f"apply {topic}", foremost(event.traceparent for event in following)):
                await subscription.handler(connection, received)
            await _advance(connection, topic, partition, following[-1].position)
        APPLIED.labels(self._service, topic).inc(len(following))
        return following[-1].position

    async def _put_aside(
        self, subscription: Subscription[Any], partition: int, event: events_pb2.Event, error: Exception
    ) -> int:
        self._recent.append(True)
        self._dead_in_a_row += 1
        mostly_dead = len(self._recent) == DEAD_WINDOW and 2 * sum(self._recent) > DEAD_WINDOW
        topic = subscription.topic.name
        log.error("dead letter", topic=topic, partition=partition, position=event.position, exc_info=error)
        async with self._postgres.transaction() as connection:
            last = await _lock_position(connection, topic, partition)
            if event.position != last + 1:
                return last
            # In the table too: a bad release that starts again and again throws away no more than once.
            before = await _dead_in_a_row(connection, topic, partition, last)
            if mostly_dead or max(before + 1, self._dead_in_a_row) > DEAD_IN_A_ROW_MAX:
                raise TooManyDeadLetters(topic) from error
            await self._keep_dead_letter(connection, event, error)
            await _advance(connection, topic, partition, event.position)
        DEAD.labels(self._service, topic).inc()
        return event.position

    async def _keep_dead_letter(self, connection: Connection, event: events_pb2.Event, error: Exception) -> None:
        failed_at = await connection.fetchval("SELECT now()")
        letter = events_pb2.DeadLetter(event=event, service=self._service, error=type(error).__name__)
        letter.failed_at.FromDatetime(failed_at)
        await connection.execute(
            "INSERT INTO dead_letters (topic, partition, position, event, error) VALUES ($1, $2, $3, $4, $5)",
            event.topic,
            event.partition,
            event.position,
            event.SerializeToString(),
            letter.error,
        )
        to = Topic(f"{event.topic}.dead.{self._service}", 1)
        await outbox.append_to(connection, to, letter, key=event.key, occurred_at=failed_at)

    def _went_well(self, events: int) -> None:
        self._dead_in_a_row = 0
        self._recent.extend([False] * min(events, DEAD_WINDOW))


def _following(events: Sequence[events_pb2.Event], last: int) -> list[events_pb2.Event]:
    """The gapless run of events right after a position; duplicates and what was applied are left out."""
    run: list[events_pb2.Event] = []
    for event in events:
        if event.position == last + 1 + len(run):
            run.append(event)
    return run


def _received(message_type: type[M], event: events_pb2.Event) -> Received[M]:
    if event.occurred_at == Timestamp():
        raise DecodeError("an event without a time")
    message = message_type.FromString(event.payload)
    return Received(event.position, UUID(event.event_id), to_datetime(event.occurred_at), event.key, message)


async def _dead_in_a_row(connection: Connection, topic: str, partition: int, last: int) -> int:
    """How many of the last few positions are dead letters: all of them, or it does not matter how many."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM dead_letters WHERE topic = $1 AND partition = $2 AND position > $3",
        topic,
        partition,
        last - DEAD_IN_A_ROW_MAX,
    )
    return count


async def _lock_position(connection: Connection, topic: str, partition: int) -> int:
    position: int = await connection.fetchval(
        """
        INSERT INTO inbox (topic, partition, position) VALUES ($1, $2, 0)
        ON CONFLICT (topic, partition) DO UPDATE SET position = inbox.position
        RETURNING position
        """,
        topic,
        partition,
    )
    return position


async def _advance(connection: Connection, topic: str, partition: int, position: int) -> None:
    await connection.execute(
        "UPDATE inbox SET position = $3 WHERE topic = $1 AND partition = $2", topic, partition, position
    )
