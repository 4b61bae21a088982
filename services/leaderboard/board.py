"""The boards in Redis: an exact order with ranks in logarithmic time, at most a minute old.

A board is a sorted set whose members are texts of fixed width in the order of the places (`rules.encode`; all scores
are 0), with a hash that knows each creator's member. It is brought up to date from PostgreSQL by whoever finds it too
old, one at a time, in one MULTI: a reader sees it before or after. PostgreSQL is the truth: an empty Redis is filled
again, and while there is none the same questions are answered from there, slower.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import redis.asyncio as redis
from redis.exceptions import RedisError

from libs.clock import Clock
from libs.postgres import Postgres
from libs.telemetry import logger
from services.leaderboard import metrics, rules
from services.leaderboard.model import Place, Ranked, Slice, Window
from services.leaderboard.store import places

log = logger(__name__)

_TIMEOUT_S = 0.25
_LOCK_S = 30
_KEPT_S = 3 * 86_400
_SHUN_S = 2.0
_CHUNK = 5000


class Board:
    """Answers pages and ranks of every window."""

    def __init__(self, postgres: Postgres, clock: Clock, redis_url: str, cache_seconds: float) -> None:
        self._postgres = postgres
        self._clock = clock
        self._cache_seconds = cache_seconds
        # Its types are unions of what the blocking and the awaited client answer.
        self._redis: Any = None
        if redis_url:
            self._redis = redis.Redis.from_url(
                redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=_TIMEOUT_S
            )
        self._shunned_until = 0.0
        self._refreshing: dict[Window, asyncio.Lock] = {}

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def page(self, window: Window, after: Place | None, size: int) -> Slice:
        """Up to `size` places from the top, or after one."""

        async def cached(client: Any) -> Slice:
            as_of = await self._fresh(client, window)
            start = f"({rules.encode(after)}" if after else "-"
            members = await client.zrange(_key(window, "order"), start, "+", bylex=True, offset=0, num=size + 1)
            if not members:
                return Slice((), as_of)
            first = await client.zrank(_key(window, "order"), members[0])
            return Slice(_ranked(members[:size], (first or 0) + 1), as_of, more=len(members) > size)

        async def stored() -> Slice:
            async with self._postgres.transaction(readonly=True) as connection:
                as_of = self._clock.now()
                rows = await places.page(connection, window, after, size + 1)
            return Slice(tuple(rows[:size]), as_of, more=len(rows) > size)

        return await self._either(cached, stored)

    async def around(self, window: Window, creator_ref: UUID) -> Slice:
        """A creator's place and up to three neighbours on each side; empty where it has none."""

        async def cached(client: Any) -> Slice:
            as_of = await self._fresh(client, window)
            member = await client.hget(_key(window, "members"), creator_ref.hex)
            rank = await client.zrank(_key(window, "order"), member) if member else None
            if rank is None:
                return Slice((), as_of)
            first = max(0, rank - rules.NEIGHBOURS)
            members = await client.zrange(_key(window, "order"), first, rank + rules.NEIGHBOURS)
            return Slice(_ranked(members, first + 1), as_of)

        async def stored() -> Slice:
            async with self._postgres.transaction(readonly=True) as connection:
                as_of = self._clock.now()
                rows = await places.around(connection, window, creator_ref, rules.NEIGHBOURS)
            return Slice(tuple(rows), as_of)

        return await self._either(cached, stored)

    async def _either(self, cached: Callable[[Any], Awaitable[Slice]], stored: Callable[[], Awaitable[Slice]]) -> Slice:
        """Asks Redis; where it does not answer, PostgreSQL, and Redis is left alone for two seconds."""
        if self._redis is not None and time.monotonic() >= self._shunned_until:
            try:
                return await cached(self._redis)
            except (RedisError, OSError, TimeoutError) as error:
                self._shunned_until = time.monotonic() + _SHUN_S
                log.warning("boards are read from PostgreSQL", error=type(error).__name__)
        metrics.FALLBACKS.inc()
        return await stored()

    async def _fresh(self, client: Any, window: Window) -> datetime:
        """When the board in Redis was read from the books; brings it up to date first where that is too long ago."""
        if (as_of := await self._read_as_of(client, window)) is not None:
            return as_of
        # Within this process one refreshes and the rest wait; between processes a lock in Redis sees to it.
        async with self._refreshing.setdefault(window, asyncio.Lock()):
            while (as_of := await self._read_as_of(client, window)) is None:
                async with _single(client, window) as ours:
                    if ours:
                        await self._refresh(client, window)
                    else:
                        await asyncio.sleep(0.02)
        self._refreshing.pop(window, None)
        return as_of

    async def _read_as_of(self, client: Any, window: Window) -> datetime | None:
        """None when the board is too old, or not there."""
        fresh = await client.get(_key(window, "fresh"))
        return datetime.fromisoformat(fresh) if fresh else None

    async def _refresh(self, client: Any, window: Window) -> None:
        with metrics.REFRESH_SECONDS.time():
            seen = await client.get(_key(window, "seen"))
            async with self._postgres.transaction(readonly=True) as connection:
                # The instant before the snapshot: what arrived by then is in it.
                as_of = self._clock.now()
                oldest = await places.oldest_running(connection)
                changed = await places.changed_since(connection, window, int(seen or 0))
            await self._write(client, window, changed, anew=seen is None, as_of=as_of, oldest=oldest)

    async def _write(
        self, client: Any, window: Window, changed: Sequence[Place], *, anew: bool, as_of: datetime, oldest: int
    ) -> None:
        order, members = _key(window, "order"), _key(window, "members")
        known: list[str | None] = []
        if changed and not anew:
            fields = [place.creator_ref.hex for place in changed]
            known = await client.hmget(members, fields)
        async with client.pipeline(transaction=True) as multi:
            if anew:
                multi.delete(order, members)
            if gone := [member for member in known if member]:
                multi.zrem(order, *gone)
            for start in range(0, len(changed), _CHUNK):
                texts = {place.creator_ref.hex: rules.encode(place) for place in changed[start : start + _CHUNK]}
                multi.zadd(order, dict.fromkeys(texts.values(), 0.0))
                multi.hset(members, mapping=texts)
            multi.set(_key(window, "seen"), oldest, ex=_KEPT_S)
            # Too old after this long, in real time; with no time to live at all it is made anew for every read.
            multi.set(_key(window, "fresh"), as_of.isoformat(), px=max(1, int(self._cache_seconds * 1000)))
            for name in (order, members):
                multi.expire(name, 2 * _KEPT_S)
            await multi.execute()


@asynccontextmanager
async def _single(client: Any, window: Window) -> AsyncIterator[bool]:
    """True for the one process that may refresh now. Two at once would do no harm, only the work twice."""
    name, token = _key(window, "lock"), str(time.monotonic_ns())
    ours = bool(await client.set(name, token, nx=True, ex=_LOCK_S))
    try:
        yield ours
    finally:
        if ours:
            await client.delete(name)


def _ranked(members: Sequence[str], first: int) -> tuple[Ranked, ...]:
    return tuple(Ranked(rank, rules.decode(member)) for rank, member in enumerate(members, start=first))


def _key(window: Window, part: str) -> str:
    # One hash slot per board: a cluster can run the MULTI.
    return f"leaderboard:{{{int(window.timeframe)}:{window.start.isoformat()}}}:{part}"
