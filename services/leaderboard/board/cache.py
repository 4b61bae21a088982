"""A board in Redis: a sorted set whose members are places in bytes (`rules.boards.encode`), all of score 0.

    order    the sorted set; its order is the board's, exactly
    places   surrogate → the 24 bytes of its standing: where to find its member
    about    size, as_of_us, seen (rebuilds so far, and the oldest transaction that the last refresh may have missed)
    fresh, current, whole   there as long as the board is new enough, not much too old, not due to be made anew
    lock     who refreshes

Every write is one script that first looks whether the lock is still its own, and every script whether order, places and
size agree: a flush, an eviction or a refresher that slept too long can make a board vanish, never wrong.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import chain
from typing import Any, Final, NamedTuple

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from services.leaderboard.model import Place, Window
from services.leaderboard.rules import boards

_TIMEOUT_S: Final = 0.5
_CONNECTIONS_MAX: Final = 64
_LEASE_MS: Final = 15_000
_MADE_MS: Final = 4 * _LEASE_MS
_KEPT_S: Final = 2 * 86_400
_WHOLE_S: Final = 3600
_CHUNK: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_PARTS: Final = ("order", "places", "about", "fresh", "current", "whole", "lock")

_HEAD = """
local order, places, about, fresh, current, whole, lock = unpack(KEYS)
local function agrees()
    local size = tonumber(redis.call('HGET', about, 'size'))
    return size == redis.call('ZCARD', order) and size == redis.call('HLEN', places)
end
local function age()
    if redis.call('EXISTS', fresh) == 1 then return 0 end
    return 2 - redis.call('EXISTS', current)
end
"""
_PAGE = """
if not agrees() then return {} end
local first = 0
if ARGV[1] ~= '' then first = redis.call('ZLEXCOUNT', order, '-', '[' .. ARGV[1]) end
local members = redis.call('ZRANGE', order, first, first + ARGV[2] - 1)
return {redis.call('HGET', about, 'as_of_us'), age(), first, members}
"""
_AROUND = """
if not agrees() then return {} end
local as_of_us = redis.call('HGET', about, 'as_of_us')
local standing = redis.call('HGET', places, ARGV[1])
if not standing then return {as_of_us, age(), 0, {}} end
local rank = redis.call('ZRANK', order, standing .. ARGV[1])
local first = math.max(0, rank - ARGV[2])
return {as_of_us, age(), first, redis.call('ZRANGE', order, first, rank + ARGV[2])}
"""
_SEEN = """
if not agrees() or redis.call('EXISTS', whole) == 0 then return false end
return redis.call('HGET', about, 'seen')
"""
_FENCE = """
if redis.call('GET', lock) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', lock, ARGV[2])
"""
_CHANGE = """
if not agrees() then return 0 end
for i = 3, #ARGV, 2 do
    local ref, standing = ARGV[i], ARGV[i + 1]
    local before = redis.call('HGET', places, ref)
    if before ~= standing then
        if before then redis.call('ZREM', order, before .. ref) end
        if standing == '' then
            redis.call('HDEL', places, ref)
        else
            redis.call('ZADD', order, 0, standing .. ref)
            redis.call('HSET', places, ref, standing)
        end
    end
end
redis.call('HSET', about, 'size', redis.call('ZCARD', order))
return 1
"""
_SWAP = """
local made_order, made_places = KEYS[8], KEYS[9]
if redis.call('ZCARD', made_order) ~= tonumber(ARGV[3]) then return 0 end
redis.call('UNLINK', order, places, about)
if redis.call('EXISTS', made_order) == 1 then
    redis.call('RENAME', made_order, order)
    redis.call('RENAME', made_places, places)
end
redis.call('HSET', about, 'size', ARGV[3])
redis.call('SET', whole, '', 'EX', ARGV[4])
return 1
"""
_FINISH = """
if not agrees() then return 0 end
redis.call('HSET', about, 'as_of_us', ARGV[3], 'seen', ARGV[4])
if tonumber(ARGV[5]) > 0 then
    redis.call('SET', fresh, '', 'PX', ARGV[5])
    redis.call('SET', current, '', 'PX', 2 * ARGV[5])
end
for _, key in ipairs({order, places, about}) do redis.call('EXPIRE', key, ARGV[6]) end
redis.call('DEL', lock)
return 1
"""
_RELEASE = "if redis.call('GET', lock) == ARGV[1] then redis.call('DEL', lock) end return 1"


class LeaseLost(Exception):
    """The refresh took too long, or Redis was emptied meanwhile: somebody begins again."""


class Age(IntEnum):
    """How old what was read is: new enough, due to be refreshed, too old to be shown without waiting."""

    FRESH = 0
    DUE = 1
    OLD = 2


class Reading(NamedTuple):
    """A part of a board as it stands in Redis; `first` counts the places before it."""

    as_of: datetime
    age: Age
    first: int
    places: tuple[Place, ...]


class Seen(NamedTuple):
    """What a refresh has seen: so many rebuilds, and all that transactions before the oldest running one did."""

    generation: int
    oldest: int


class Scripts:
    """What is run within Redis, each in one step."""

    def __init__(self, client: Any) -> None:
        self.page = client.register_script(_HEAD + _PAGE)
        self.around = client.register_script(_HEAD + _AROUND)
        self.seen = client.register_script(_HEAD + _SEEN)
        self.renew = client.register_script(_HEAD + _FENCE + "return 1")
        self.change = client.register_script(_HEAD + _FENCE + _CHANGE)
        self.swap = client.register_script(_HEAD + _FENCE + _SWAP)
        self.finish = client.register_script(_HEAD + _FENCE + _FINISH)
        self.release = client.register_script(_HEAD + _RELEASE)


class Lease:
    """The right to change one board, as long as it lasts; each change raises LeaseLost where that is over."""

    def __init__(self, client: Any, scripts: Scripts, window: Window, token: str) -> None:
        self._client = client
        self._scripts = scripts
        self._keys = _keys(window)
        self._token = token
        self._made = [_key(window, f"{part}:{token}") for part in ("order", "places")]
        self._made_size = 0

    async def seen(self) -> Seen | None:
        """What the board's last refresh had seen; None where it has to be made anew."""
        seen = await self._scripts.seen(self._keys)
        generation, _, oldest = seen.decode().partition(":") if seen else ("", "", "")
        return Seen(int(generation), int(oldest)) if oldest else None

    async def change(self, places: Sequence[Place]) -> None:
        """Moves creators to the places they have now, or off the board."""
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            pairs = chain.from_iterable(
                (place.creator_ref.bytes, boards.standing(place) if place.counts else b"") for place in chunk
            )
            await self._held(self._scripts.change, self._keys, *pairs)

    async def make(self, places: Sequence[Place]) -> None:
        """Adds places to a board made anew beside the one that is read."""
        order, kept = self._made
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.zadd(order, {boards.encode(place): 0 for place in places})
            pipe.hset(kept, mapping={place.creator_ref.bytes: boards.standing(place) for place in places})
            pipe.pexpire(order, _MADE_MS)
            pipe.pexpire(kept, _MADE_MS)
            await pipe.execute()
        self._made_size += len(places)
        await self._held(self._scripts.renew, self._keys)

    async def swap(self) -> None:
        """Shows the board that was made."""
        await self._held(self._scripts.swap, [*self._keys, *self._made], self._made_size, _WHOLE_S)

    async def finish(self, as_of: datetime, seen: Seen, cache_ms: int) -> None:
        """Says what the board holds and for how long it is fresh, and lets go."""
        as_of_us = (as_of - _EPOCH) // _MICROSECOND
        told = f"{seen.generation}:{seen.oldest}".encode()
        await self._held(self._scripts.finish, self._keys, as_of_us, told, cache_ms, _KEPT_S)

    async def release(self) -> None:
        """Lets go, whatever came of it."""
        await self._scripts.release(self._keys, [self._token])

    async def _held(self, script: Any, keys: Sequence[str], *args: bytes | int) -> None:
        if not await script(keys, [self._token, _LEASE_MS, *args]):
            raise LeaseLost


class Cache:
    """Boards in one Redis. Raises its errors."""

    def __init__(self, url: str) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS_MAX,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # A connection that was closed meanwhile is opened again; who does not answer is not asked twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        # Its types are unions of what the blocking and the awaited client answer.
        self._client: Any = redis.Redis.from_pool(pool)
        self._scripts = Scripts(self._client)

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def page(self, window: Window, after: Place | None, size: int) -> Reading | None:
        """Up to `size` places from the top or after one; None where there is no whole board."""
        return _reading(await self._scripts.page(_keys(window), [boards.encode(after) if after else b"", size]))

    async def around(self, window: Window, creator_ref: bytes, reach: int) -> Reading | None:
        """A creator's place with `reach` neighbours on each side, no places where it has none; None as above."""
        return _reading(await self._scripts.around(_keys(window), [creator_ref, reach]))

    async def lease(self, window: Window) -> Lease | None:
        """The right to refresh a board; None as long as somebody else has it."""
        token = secrets.token_hex(8)
        if await self._client.set(_key(window, "lock"), token, nx=True, px=_LEASE_MS):
            return Lease(self._client, self._scripts, window, token)
        return None

    async def is_leased(self, window: Window) -> bool:
        """Whether somebody refreshes the board now."""
        return bool(await self._client.exists(_key(window, "lock")))


def _reading(reply: list[Any]) -> Reading | None:
    if not reply or reply[0] is None:
        return None
    as_of_us, age, first, members = reply
    return Reading(_EPOCH + int(as_of_us) * _MICROSECOND, Age(age), first, tuple(map(boards.decode, members)))


def _keys(window: Window) -> list[str]:
    return [_key(window, part) for part in _PARTS]


def _key(window: Window, part: str) -> str:
    # One hash slot per board: a cluster can run the scripts.
    return f"leaderboard:{{{int(window.timeframe)}:{window.start.isoformat()}}}:{part}"
