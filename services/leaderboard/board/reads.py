"""Pages and ranks, at most a minute old, from whichever store can answer.

A read never refreshes a board itself: it asks `run` to, one refresh at a time per board in this process, and a lease in
Redis sees to it among processes. A board that is merely due is answered at once, as it is; one that is too old or not
there is waited for, a little. What cannot be answered from Redis is answered from PostgreSQL, slower and just as right.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from redis.exceptions import RedisError

from libs.postgres import Postgres, is_fault
from libs.telemetry import logger
from services.leaderboard import metrics
from services.leaderboard.board.cache import Age, Cache, Lease, LeaseLost, Reading, Seen
from services.leaderboard.model import Place, Ranked, Slice, Window
from services.leaderboard.rules import boards
from services.leaderboard.store import places, progress

log = logger(__name__)

CHANGES_MAX: Final = 20_000
"""So many creators are moved one by one; if more changed, the board is made anew beside the one that is read."""

_PATIENCE_S: Final = 1.0
_ASK_AGAIN_S: Final = 0.02
_SHUN_S: Final = 2.0
_CHUNK: Final = 500
_STORE_READS_MAX: Final = 4
_REDIS_FAULTS: Final = (RedisError, OSError, TimeoutError)


class Board:
    """Answers for every window."""

    def __init__(self, postgres: Postgres, redis_url: str, cache_seconds: float) -> None:
        self._postgres = postgres
        self._cache = Cache(redis_url) if redis_url else None
        # In real time; 0 means to be refreshed for every read.
        self._cache_ms = int(cache_seconds * 1000)
        self._shunned_until: float | None = None
        self._wanted: asyncio.Queue[Window] = asyncio.Queue()
        self._under_way: dict[Window, asyncio.Future[None]] = {}
        self._store_reads = asyncio.Semaphore(_STORE_READS_MAX)

    async def close(self) -> None:
        """Give the connections back."""
        if self._cache is not None:
            await self._cache.close()

    async def run(self) -> None:
        """Refreshes what reads find due; never returns."""
        async with asyncio.TaskGroup() as group:
            while True:
                window = await self._wanted.get()
                group.create_task(self._refresh_for_readers(window))

    async def page(self, window: Window, after: Place | None, size: int) -> Slice:
        """Up to `size` places from the top, or after one."""
        reading = await self._cached(window, lambda cache: cache.page(window, after, size + 1))
        if reading is not None:
            return Slice(_ranked(reading)[:size], reading.as_of, more=len(reading.places) > size)
        async with self._store_reads, self._postgres.transaction(readonly=True) as connection:
            await progress.hold(connection)
            as_of = await progress.as_of(connection)
            rows = await places.page(connection, window, after, size + 1)
        return Slice(tuple(rows[:size]), as_of, more=len(rows) > size)

    async def around(self, window: Window, creator_ref: UUID) -> Slice:
        """A creator's place and up to three neighbours on each side; empty where it has none."""
        reach = boards.NEIGHBOURS
        reading = await self._cached(window, lambda cache: cache.around(window, creator_ref.bytes, reach))
        if reading is not None:
            return Slice(_ranked(reading), reading.as_of)
        async with self._store_reads, self._postgres.transaction(readonly=True) as connection:
            await progress.hold(connection)
            as_of = await progress.as_of(connection)
            rows = await places.around(connection, window, creator_ref, reach)
        return Slice(tuple(rows), as_of)

    async def _cached(self, window: Window, ask: Callable[[Cache], Awaitable[Reading | None]]) -> Reading | None:
        """What Redis says; None where it says nothing, and then it is left alone for two seconds."""
        if self._cache is not None and self._may_ask():
            try:
                reading = await self._recent(self._cache, window, ask)
            except _REDIS_FAULTS as error:
                self._shun(error)
            else:
                self._shunned_until = None
                if reading is not None:
                    return reading
        metrics.FALLBACKS.inc()
        return None

    async def _recent(
        self, cache: Cache, window: Window, ask: Callable[[Cache], Awaitable[Reading | None]]
    ) -> Reading | None:
        reading = await ask(cache)
        if reading is not None and reading.age is Age.FRESH:
            return reading
        refreshed = self._want(window)
        if reading is not None and reading.age is Age.DUE:
            return reading
        await asyncio.wait([refreshed], timeout=_PATIENCE_S)
        return await ask(cache)

    def _want(self, window: Window) -> asyncio.Future[None]:
        """Asks for a refresh, or joins the one under way; done when it is over, well or not."""
        refreshed = self._under_way.get(window)
        if refreshed is None:
            refreshed = self._under_way[window] = asyncio.get_running_loop().create_future()
            self._wanted.put_nowait(window)
        return refreshed

    def _may_ask(self) -> bool:
        """After a fault one read in two seconds tries whether Redis is back, and the others do not wait for it."""
        if self._shunned_until is None:
            return True
        if time.monotonic() < self._shunned_until:
            return False
        self._shunned_until = time.monotonic() + _SHUN_S
        return True

    def _shun(self, error: BaseException) -> None:
        self._shunned_until = time.monotonic() + _SHUN_S
        log.warning("boards are read from PostgreSQL", error=type(error).__name__)

    async def _refresh_for_readers(self, window: Window) -> None:
        try:
            await self.refresh(window)
        except LeaseLost:
            log.warning("a refresh lost its lease", timeframe=window.timeframe.name)
        except _REDIS_FAULTS as error:
            self._shun(error)
        except Exception as error:
            if not is_fault(error):
                raise
            log.warning("a board was not refreshed", error=type(error).__name__)
        finally:
            self._under_way.pop(window).set_result(None)

    async def refresh(self, window: Window) -> None:
        """Brings a board up to date, or waits a little for whoever does."""
        if self._cache is None:
            return
        lease = await self._cache.lease(window)
        if lease is None:
            await self._watch(self._cache, window)
            return
        try:
            with metrics.REFRESH_SECONDS.time():
                await self._bring_up_to_date(lease, window)
        finally:
            await lease.release()

    async def _watch(self, cache: Cache, window: Window) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while time.monotonic() < give_up and await cache.is_leased(window):  # noqa: ASYNC110 - asks Redis
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _bring_up_to_date(self, lease: Lease, window: Window) -> None:
        seen = await lease.seen()
        async with self._postgres.transaction(readonly=True) as connection:
            await progress.hold(connection)
            as_of = await progress.as_of(connection)
            now = Seen(await progress.generation(connection), await places.oldest_running(connection))
            changed: list[Place] | None = None
            # A database that was restored counts its transactions anew.
            if seen is not None and seen.generation == now.generation and seen.oldest <= now.oldest:
                changed = await places.changed_since(connection, window, seen.oldest, CHANGES_MAX + 1)
            if changed is None or len(changed) > CHANGES_MAX:
                changed = None
                async for chunk in places.every(connection, window, _CHUNK):
                    await lease.make(chunk)
        if changed is None:
            await lease.swap()
        else:
            await lease.change(changed)
        metrics.REFRESHES.labels("anew" if changed is None else "changes").inc()
        await lease.finish(as_of, now, self._cache_ms)


def _ranked(reading: Reading) -> tuple[Ranked, ...]:
    return tuple(Ranked(rank, place) for rank, place in enumerate(reading.places, start=reading.first + 1))
