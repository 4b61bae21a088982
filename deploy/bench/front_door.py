"""Requests through the gateway at a given rate, whatever becomes of those before: told as one line of JSON.

An open loop: each request is due at an instant of its own, and its time is counted from then, so that a gateway that
falls behind cannot hide it. Whatever is not answered with success is counted too.
"""

import argparse
import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import uvloop

from deploy.local.demo.front_door import CONCURRENT, FrontDoor
from libs import rpc
from protos.referral.v1 import referral_pb2
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub

_BINDINGS_EACH = 8
"""Below what a code may bind in an hour."""
_READERS = 200
_PAID = "bench-paid"
_EARNED_MICRO = 100_000_000
_ASKED_MICRO = 40_000_000
_CURRENCY = "usdcmatic"
_PRICE_TRIES, _PRICE_PAUSE_S = 300, 0.1
# What they have earned is a balance, in no journal: enough for whoever sets it aside.
_EARN = """
    WITH earned AS (
        INSERT INTO distribution.accounts (name, kind, balance_micro)
        SELECT 'creator:' || account_ref || ':settled', 'creator_settled', $2::bigint FROM referral.accounts
        WHERE account_id LIKE $1 || '-%' RETURNING balance_micro
    ), reserve AS (
        UPDATE distribution.accounts SET balance_micro = balance_micro + (SELECT sum(balance_micro) FROM earned)
        WHERE name = 'treasury:payout_reserve'
    )
    UPDATE distribution.owed SET owed_micro = owed_micro + (SELECT sum(balance_micro) FROM earned)
    """


class Asked(NamedTuple):
    """One request, ready to be sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, str] | None = None


class World:
    """What the requests are about: made beforehand."""

    def __init__(self, door: FrontDoor, referral: str, dsn: str) -> None:
        self._door = door
        self._dsn = dsn
        self._referral = ReferralServiceStub(rpc.channel(referral, caller="gateway"))

    async def readings(self, count: int) -> list[Asked]:
        """Pages of the board, by creators who have a place somewhere and others who have none."""
        tokens = await self._tokens([f"bench-creator-{number}" for number in range(_READERS)])
        path = "/api/referrals/leaderboard?timeframe=all_time&limit=50"
        return [Asked("GET", path, tokens[number % _READERS]) for number in range(count)]

    async def registrations(self, count: int) -> list[Asked]:
        """Everybody new, from an address of its own, by codes that are not used up."""
        codes = await self._codes("bench-door", -(-count // _BINDINGS_EACH))
        tokens = await self._tokens([f"bench-door-visitor-{number}" for number in range(count)])
        return [
            Asked(
                "POST",
                "/api/referrals/register",
                tokens[number] | {"X-Forwarded-For": f"10.{number >> 8 & 255}.{number & 255}.1"},
                {"code": codes[number % len(codes)]},
            )
            for number in range(count)
        ]

    async def payouts(self, count: int) -> list[Asked]:
        """Everybody has been quoted and asks for a first payout, to a wallet of their own."""
        await self._codes(_PAID, count)
        tokens = await self._tokens([f"{_PAID}-{number}" for number in range(count)])
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(_EARN, _PAID, _EARNED_MICRO)
        await connection.close()
        await self._until_offered(_bare(tokens[0]))
        wanted = [
            {
                "amount_micro": str(_ASKED_MICRO),
                "currency": _CURRENCY,
                "destination_address": f"0x{hashlib.sha256(b'%d' % number).hexdigest()[:40]}",
            }
            for number in range(count)
        ]
        quotes: dict[int, str] = {}

        async def quote(number: int) -> None:
            said = await self._door.call("POST", "/api/payouts/quote", token=_bare(tokens[number]), body=wanted[number])
            quotes[number] = said["quote"]["quote_id"]

        await _together(quote, range(count))
        return [
            Asked(
                "POST",
                "/api/payouts/request",
                token | {"Idempotency-Key": "first"},
                wanted[number] | {"quote_id": quotes[number]},
            )
            for number, token in enumerate(tokens)
        ]

    async def _until_offered(self, token: str) -> None:
        """Wait until payout knows the provider's price."""
        for _ in range(_PRICE_TRIES):
            listed = (await self._door.call("GET", "/api/payouts/currencies", token=token))["currencies"]
            if any(each["currency"] == _CURRENCY and each["available"] for each in listed):
                return
            await asyncio.sleep(_PRICE_PAUSE_S)
        raise RuntimeError(f"nobody says what {_CURRENCY} costs")

    async def _codes(self, prefix: str, count: int) -> list[str]:
        codes: dict[int, str] = {}

        async def make(number: int) -> None:
            asked = referral_pb2.CreateCodeRequest(account_id=f"{prefix}-{number}")
            codes[number] = (await self._referral.CreateCode(asked)).code.code

        await _together(make, range(count))
        return [codes[number] for number in range(count)]

    async def _tokens(self, account_ids: Sequence[str]) -> list[dict[str, str]]:
        now = await self._door.now()
        tokens = await asyncio.gather(*(self._door.token(account_id, now) for account_id in account_ids))
        return [{"Authorization": f"Bearer {token}"} for token in tokens]


def _bare(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


async def _together(act: Callable[[int], Awaitable[None]], numbers: Iterable[int]) -> None:
    slots = asyncio.Semaphore(CONCURRENT)

    async def one(number: int) -> None:
        async with slots:
            await act(number)

    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(one(number))


async def _send(gateway: str, asked: Sequence[Asked], rate: float, warm: int) -> dict[str, Any]:
    times: list[float] = []
    failures: dict[str, int] = {}
    clock = time.perf_counter
    began = clock()

    async def one(number: int, http: aiohttp.ClientSession) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0, due - clock()))
        request = asked[number]
        async with http.request(
            request.method, gateway + request.path, headers=request.headers, json=request.body
        ) as answer:
            text = await answer.text()
        if not answer.ok:
            said = f"{answer.status} {json.loads(text).get('code')}"
            failures[said] = failures.get(said, 0) + 1
        if number >= warm:
            times.append(clock() - due)

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30)) as http,
        asyncio.TaskGroup() as group,
    ):
        for number in range(len(asked)):
            group.create_task(one(number, http))
    times.sort()
    return {
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
        "max_ms": times[-1] * 1000,
        "rate": (len(asked) - 1) / (clock() - began),
        "failures": failures,
    }


async def _run(given: argparse.Namespace) -> dict[str, Any]:
    async with FrontDoor(given.gateway) as door:
        world = World(door, given.referral, given.dsn)
        warm = int(given.rate * given.warm)
        count = warm + int(given.rate * given.seconds)
        asked = await getattr(world, given.kind)(count)
        return await _send(given.gateway, asked, given.rate, warm)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("readings", "registrations", "payouts"))
    parser.add_argument("gateway")
    parser.add_argument("referral")
    parser.add_argument("dsn")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm", type=float, default=2)
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
