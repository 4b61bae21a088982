"""Making everything again from events: asked for, begun or gone on with, batch by batch, and put in place at the end.

All but the request is done through the session of the one who leads (`libs.leader`): who lost the lead cannot write.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from libs.clock import Clock
from libs.ids import new_id
from libs.inbox import Received, Subscription
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_datetime
from protos.events.v1.events_pb2 import Event
from services.leaderboard.rules.operators import check_order
from services.leaderboard.store import beside, breakdowns, rebuilds, replay

_LOCK_WAIT: Final = "500ms"


class Page(NamedTuple):
    """Events of one partition that follow on each other."""

    subscription: Subscription[Any]
    partition: int
    events: Sequence[Event]

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.subscription.topic.name, self.partition


@retried
async def request(postgres: Postgres, clock: Clock, operator_id: str, reason: str) -> UUID:
    """Asks for a rebuild; one that is under way is joined."""
    check_order(operator_id, reason)
    async with postgres.transaction() as connection:
        return await rebuilds.request(connection, new_id(), operator_id, reason, clock.now())


async def prepare(connection: Connection, rebuild_id: UUID, places: Iterable[tuple[str, int]]) -> None:
    """Makes empty tables beside, or finds those that another leader began to fill; then steps in."""
    async with connection.transaction():
        await beside.step_out(connection)
        if not await rebuilds.is_made(connection, rebuild_id):
            await beside.make(connection)
            await rebuilds.mark_made(connection, rebuild_id)
        await beside.cover(connection, places)
        await beside.step_in(connection)


async def apply(connection: Connection, pages: Sequence[Page]) -> None:
    """Applies pages in one transaction, with the handlers of the consumers."""
    subscriptions = {page.subscription.topic.name: page.subscription for page in pages}
    async with connection.transaction():
        await replay.relax(connection)
        for topic, subscription in sorted(subscriptions.items()):
            own = [page for page in pages if page.place[0] == topic]
            events = [_received(subscription, event) for page in own for event in page.events]
            await subscription.handler(connection, events)
        await replay.advance(connection, {page.place: page.events[-1].position for page in pages})


async def put_aside(connection: Connection, page: Page, error: BaseException) -> None:
    """Goes on without the one event of a page."""
    async with connection.transaction():
        await replay.put_aside(connection, page.events[0], error)
        await replay.advance(connection, {page.place: page.events[0].position})


async def take_over(connection: Connection, rebuild_id: UUID) -> bool:
    """Puts what was made in the place of what is read, at once; False where consumers are ahead of it.

    Raises LockNotAvailableError where somebody reads for long: to be tried again, rather than to keep readers waiting.
    """
    await beside.measure(connection)
    try:
        async with connection.transaction():
            await replay.hurry(connection, _LOCK_WAIT)
            await beside.step_out(connection)
            await breakdowns.lock_published_through(connection)
            await beside.lock_positions(connection)
            if await rebuilds.end(connection, rebuild_id):
                await beside.swap(connection)
    except beside.ConsumersAhead:
        return False
    return True


async def give_up(connection: Connection, rebuild_id: UUID, error: BaseException) -> None:
    """Ends a rebuild that cannot be done; what is read stays as it is."""
    async with connection.transaction():
        await rebuilds.end(connection, rebuild_id, fault=type(error).__name__)
        await beside.drop(connection)


def _received(subscription: Subscription[Any], event: Event) -> Received[Any]:
    if event.occurred_at == Timestamp():
        raise DecodeError("an event without a time")
    message = subscription.message_type.FromString(event.payload)
    return Received(event.position, UUID(event.event_id), to_datetime(event.occurred_at), event.key, message)
