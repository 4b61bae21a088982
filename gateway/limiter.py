"""How often somebody may call: moving windows in Redis, all limits of one request in one round trip.

(The package `limits` needs one trip for each limit and another one for what is left of it.)
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway import metrics
from gateway.problems import LimitsUnavailable, RateLimited
from gateway.route import Limited
from libs.telemetry import logger

log = logger(__name__)

WAIT_SECONDS: Final = 0.25
REST_SECONDS: Final = 1.0
CONNECTIONS: Final = 64

# A list per key: the times of the calls that were let through, newest first. Real time, told by Redis, so that all
# replicas agree. A call that any of its limits refuses is counted by none. Answers {used, oldest age} per key.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer, full = {}, false
for i, key in ipairs(KEYS) do
  local quota, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local oldest = tonumber(redis.call('LINDEX', key, -1) or nil)
  while oldest and oldest <= now - window do
    redis.call('RPOP', key)
    oldest = tonumber(redis.call('LINDEX', key, -1) or nil)
  end
  local used = redis.call('LLEN', key)
  full = full or used >= quota
  answer[#answer + 1] = used
  answer[#answer + 1] = oldest and oldest + window - now or window
end
if not full then
  for i, key in ipairs(KEYS) do
    redis.call('LPUSH', key, string.format('%.0f', now))
    redis.call('PEXPIRE', key, ARGV[2 * i])
  end
end
answer[#answer + 1] = full and 1 or 0
return answer
"""


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `calls` in any `seconds` in a row."""

    name: str
    per: Literal["account", "address"]
    calls: int
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class Standing:
    """How one quota stands after a call."""

    quota: Quota
    remaining: int
    reset_seconds: int


class Limiter:
    """Counts calls."""

    def __init__(
        self,
        redis: Redis,
        quotas: Mapping[Limited, Sequence[Quota]],
        *,
        closed: frozenset[Limited],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """`closed` are the kinds of calls that are refused while they cannot be counted."""
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._quotas = quotas
        self._closed = closed
        self._wait_seconds = wait_seconds
        self._rests_until = float("-inf")

    async def admit(self, limited: Limited, *, account: str, address: str) -> dict[str, str]:
        """Count one call and return its headers. Raises RateLimited, and LimitsUnavailable for a closed kind."""
        quotas = self._quotas.get(limited, ())
        if not quotas:
            return {}
        now = asyncio.get_running_loop().time()
        if now < self._rests_until and limited not in self._closed:
            return {}
        try:
            standings, full = await self._count(quotas, {"account": account, "address": address})
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = now + REST_SECONDS
            metrics.UNCOUNTED.labels(limited.name.lower()).inc()
            log.warning("calls not counted", error=type(error).__name__)
            if limited in self._closed:
                raise LimitsUnavailable(headers={"Retry-After": "1"}) from None
            return {}
        headers = fields(standings)
        if full:
            metrics.LIMITED.labels(limited.name.lower()).inc()
            wait = max(each.reset_seconds for each in standings if each.remaining == 0)
            raise RateLimited(headers=headers | {"Retry-After": str(wait)})
        return headers

    async def _count(self, quotas: Sequence[Quota], who: Mapping[str, str]) -> tuple[list[Standing], bool]:
        keys = [_key(quota, who[quota.per]) for quota in quotas]
        arguments = [number for quota in quotas for number in (quota.calls, quota.seconds * 1000)]
        async with asyncio.timeout(2 * self._wait_seconds):
            *numbers, full = await self._script(keys=keys, args=arguments)
        standings = [
            Standing(quota, max(quota.calls - used - (not full), 0), max(ceil(reset_ms / 1000), 1))
            for quota, used, reset_ms in zip(quotas, numbers[::2], numbers[1::2], strict=True)
        ]
        return standings, bool(full)

    async def answers(self) -> bool:
        """Whether Redis is there."""
        try:
            return bool(await self._redis.ping())
        except RedisError:
            return False


def open_redis(url: str, wait_seconds: float = WAIT_SECONDS) -> Redis:
    """A bounded pool that waits briefly and retries once: a connection may have died since it was last used."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=wait_seconds,
        socket_timeout=wait_seconds,
        socket_connect_timeout=wait_seconds,
        retry=Retry(NoBackoff(), 1),
    )
    return Redis.from_pool(pool)


def fields(standings: Sequence[Standing]) -> dict[str, str]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers)."""
    policies = [f'"{each.quota.name}";q={each.quota.calls};w={each.quota.seconds}' for each in standings]
    left = [f'"{each.quota.name}";r={each.remaining};t={each.reset_seconds}' for each in standings]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


def _key(quota: Quota, who: str) -> str:
    """Names nobody: what is in Redis may be dumped."""
    return f"limit:{quota.name}:{hashlib.blake2b(who.encode(), digest_size=16).hexdigest()}"
