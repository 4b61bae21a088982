"""Makes everything again from the publishers' logs, by one replica, while all of them go on answering and consuming."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.inbox import DEAD_IN_A_ROW_MAX, EventsMissing, Subscription, TooManyDeadLetters, asking_the_log
from libs.leader import lead
from libs.postgres import Postgres, is_fault
from libs.refusals import Unavailable
from libs.telemetry import logger
from protos.events.v1.events_pb2 import ListEventsRequest, ListHeadsRequest
from services.leaderboard import metrics
from services.leaderboard.commands import rebuilding
from services.leaderboard.commands.rebuilding import Page
from services.leaderboard.store import progress, rebuilds

log = logger(__name__)

_PAGE_EVENTS: Final = 1000
_PAGES_AHEAD: Final = 8
_PAGES_TOGETHER: Final = 4
"""So many pages are one transaction: more would keep the process from answering while they are counted."""
_TIMEOUT_S: Final = 30.0
_AGAIN_S: Final = 0.2
_IDLE_MAX: Final = 5

_Positions = Mapping[tuple[str, int], int]
_Pages = asyncio.Queue[Page | Exception | None]
"""Pages as they come, what went wrong with a partition, and None for each that has come to its end."""


class Rebuilding:
    """Does the rebuilds that are asked for. One that was killed is gone on with, by whoever leads then."""

    def __init__(self, postgres: Postgres, subscriptions: Sequence[Subscription[Any]], poll_seconds: float) -> None:
        """`subscriptions` are those that the tables are made from."""
        self._postgres = postgres
        self._subscriptions = {each.topic.name: each for each in subscriptions}
        self._poll_seconds = poll_seconds
        self._dead_in_a_row = 0

    async def run(self) -> None:
        """Leads when it can; never returns."""
        await lead(self._postgres, "rebuild", self._work)

    async def _work(self, connection: asyncpg.Connection) -> None:
        while True:
            rebuild_id = await rebuilds.under_way(connection)
            if rebuild_id is not None:
                await self._rebuild(connection, rebuild_id)
            await asyncio.sleep(self._poll_seconds)

    async def _rebuild(self, connection: asyncpg.Connection, rebuild_id: UUID) -> None:
        """Raises what is a fault of the session; whatever else cannot be waited out ends the rebuild."""
        log.info("rebuild", rebuild_id=str(rebuild_id))
        self._dead_in_a_row = 0
        try:
            with metrics.REBUILD_SECONDS.time():
                await self._replay(connection, rebuild_id)
        except Exception as error:
            if is_fault(error) or connection.is_closed():
                raise
            log.exception("rebuild given up", rebuild_id=str(rebuild_id))
            await rebuilding.give_up(connection, rebuild_id, error)
            metrics.REBUILDS.labels("failed").inc()
        else:
            log.info("rebuilt", rebuild_id=str(rebuild_id))
            metrics.REBUILDS.labels("done").inc()

    async def _replay(self, connection: asyncpg.Connection, rebuild_id: UUID) -> None:
        idle = 0
        while idle <= _IDLE_MAX:
            try:
                read = await self._attempt(connection, rebuild_id)
            except EventsMissing:
                raise
            except (Unavailable, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                log.warning("a rebuild waits", error=type(error).__name__)
            else:
                if read is None:
                    return
                idle = 0 if read else idle + 1
            await asyncio.sleep(_AGAIN_S * random.uniform(0.5, 1))  # noqa: S311 - jitter
        # Consumers have had events that the logs do not have: nothing would come of waiting.
        raise EventsMissing

    async def _attempt(self, connection: asyncpg.Connection, rebuild_id: UUID) -> int | None:
        """Reads all there is and takes over; how many events it read where consumers were ahead by then."""
        heads = await self._heads()
        await rebuilding.prepare(connection, rebuild_id, heads)
        read = await self._read_to(connection, heads)
        return None if await rebuilding.take_over(connection, rebuild_id) else read

    async def _heads(self) -> _Positions:
        heads: dict[tuple[str, int], int] = {}
        for topic, subscription in self._subscriptions.items():
            with asking_the_log():
                answer = await subscription.log.ListHeads(ListHeadsRequest(topic=topic), timeout=_TIMEOUT_S)
            heads |= {(topic, head.partition): head.position for head in answer.heads}
        return heads

    async def _read_to(self, connection: asyncpg.Connection, heads: _Positions) -> int:
        """Applies what the logs have, from where the tables beside stand up to the heads; returns how many events."""
        known = await progress.positions(connection)
        behind = [(place, known.get(place, 0), head) for place, head in heads.items() if known.get(place, 0) < head]
        pages: _Pages = asyncio.Queue(_PAGES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                for place, last, head in behind:
                    group.create_task(self._fetch_told(place, last, head, pages))
                return await self._apply_all(connection, pages, len(behind))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _fetch_told(self, place: tuple[str, int], last: int, head: int, pages: _Pages) -> None:
        """What goes wrong waits its turn among the pages.

        Raised here it would cut off a statement of the leader's session: where that is a BEGIN, the transaction stays
        open, and what is written after it is committed by nobody.
        """
        try:
            await self._fetch(place, last, head, pages)
        except Exception as error:  # noqa: BLE001 - raised by who takes it out
            await pages.put(error)

    async def _fetch(self, place: tuple[str, int], last: int, head: int, pages: _Pages) -> None:
        topic, partition = place
        subscription = self._subscriptions[topic]
        while last < head:
            request = ListEventsRequest(
                topic=topic, partition=partition, after_position=last, page_size=min(_PAGE_EVENTS, head - last)
            )
            with asking_the_log():
                events = (await subscription.log.ListEvents(request, timeout=_TIMEOUT_S)).events
            if not events or events[0].position != last + 1:
                raise EventsMissing(topic=topic, partition=partition, after=last)
            last = events[-1].position
            await pages.put(Page(subscription, partition, events))
        await pages.put(None)

    async def _apply_all(self, connection: asyncpg.Connection, pages: _Pages, fetching: int) -> int:
        read = 0
        while fetching:
            waiting = [await pages.get()]
            while len(waiting) < _PAGES_TOGETHER and not pages.empty():
                waiting.append(pages.get_nowait())
            if wrong := [error for error in waiting if isinstance(error, Exception)]:
                raise wrong[0]
            together = [page for page in waiting if isinstance(page, Page)]
            fetching -= len(waiting) - len(together)
            if together:
                await self._apply(connection, together)
                read += sum(len(page.events) for page in together)
        return read

    async def _apply(self, connection: asyncpg.Connection, pages: Sequence[Page]) -> None:
        """Together if they can be; else in halves, down to the event that cannot be applied."""
        try:
            await rebuilding.apply(connection, pages)
        except Exception as error:
            alone = len(pages) == 1 and len(pages[0].events) == 1
            too_slow = isinstance(error, asyncpg.QueryCanceledError) and not alone
            if connection.is_closed() or (pages[0].subscription.passing(error) and not too_slow):
                raise
            if alone:
                await self._put_aside(connection, pages[0], error)
                return
            for half in _halves(pages):
                await self._apply(connection, half)
        else:
            self._dead_in_a_row = 0

    async def _put_aside(self, connection: asyncpg.Connection, page: Page, error: Exception) -> None:
        topic, partition = page.place
        self._dead_in_a_row += 1
        if self._dead_in_a_row > DEAD_IN_A_ROW_MAX:
            raise TooManyDeadLetters(topic) from error
        position, kind = page.events[0].position, type(error).__name__
        log.error("left out", topic=topic, partition=partition, position=position, error=kind)
        await rebuilding.put_aside(connection, page, error)


def _halves(pages: Sequence[Page]) -> tuple[Sequence[Page], Sequence[Page]]:
    if len(pages) > 1:
        half = len(pages) // 2
        return pages[:half], pages[half:]
    [page] = pages
    half = len(page.events) // 2
    return [page._replace(events=page.events[:half])], [page._replace(events=page.events[half:])]
