"""Leaderboard's events, written where their publishers keep them, and everything made again from them.

`fill DSN REGISTRATIONS CHARGES` writes, `rebuild ADDRESS DSN` times, a superuser's DSN; each tells a line of JSON.
"""

import argparse
import asyncio
import json
import random
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import asyncpg
import uvloop
from google.protobuf.message import Message

from libs import outbox, rpc
from libs.clock import SystemClock
from libs.postgres import Postgres
from libs.timestamps import to_timestamp
from protos.distribution.v1.events_pb2 import ChargeFinalized, ChargesFinalized
from protos.leaderboard.v1 import leaderboard_pb2
from protos.leaderboard.v1.leaderboard_pb2_grpc import LeaderboardServiceStub
from protos.referral.v1.events_pb2 import Registration

CREATORS = 10_000
"""Whom everybody is brought by; some bring many, as it is in life."""
_DAYS = 60
_PARTITIONS = 4
_TOGETHER = 64
"""Charges of one group commit that fall into one partition."""
_CHUNK = 2_000
_POLL_S = 0.05
_WAIT_S = 600
_UNDER_WAY = "SELECT EXISTS (SELECT FROM rebuilds WHERE state = 'under_way')"
_MODELS = ("gpt-4o", "claude", "glm", "llama")

_Entry = tuple[Message, str, int | None]


def _creator(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench creator {number}"))


def _registrations(count: int, chance: random.Random, now: datetime) -> Iterator[_Entry]:
    for _ in range(count):
        referrer = _creator(min(chance.randrange(CREATORS), chance.randrange(CREATORS)))
        came = now - timedelta(seconds=chance.randrange(_DAYS * 86_400))
        message = Registration(
            account_ref=str(uuid.UUID(int=chance.getrandbits(128))),
            referrer_ref=referrer,
            registered_at=to_timestamp(came),
            channel=("", "x", "mail")[chance.randrange(3)],
        )
        yield message, referrer, None


def _charges(count: int, chance: random.Random, now: datetime) -> Iterator[_Entry]:
    waiting: list[list[ChargeFinalized]] = [[] for _ in range(_PARTITIONS)]
    for _ in range(count):
        referrer = _creator(min(chance.randrange(CREATORS), chance.randrange(CREATORS)))
        partition = outbox.partition_of(referrer, _PARTITIONS)
        waiting[partition].append(
            ChargeFinalized(
                distribution_id=str(uuid.UUID(int=chance.getrandbits(128))),
                payer_ref=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{referrer} {chance.randrange(20)}")),
                referrer_ref=referrer,
                referrer_micro=chance.randrange(1, 100_000),
                model=_MODELS[chance.randrange(len(_MODELS))],
                finalized_at=to_timestamp(now - timedelta(seconds=chance.randrange(_DAYS * 86_400))),
            )
        )
        if len(waiting[partition]) == _TOGETHER:
            yield ChargesFinalized(charges=waiting[partition]), str(partition), partition
            waiting[partition] = []
    for partition, some in enumerate(waiting):
        if some:
            yield ChargesFinalized(charges=some), str(partition), partition


async def _append(dsn: str, schema: str, entries: Iterator[_Entry], now: datetime) -> None:
    async with await Postgres.open(dsn, schema=schema, pool_max=2) as postgres:
        chunk: list[_Entry] = []
        for entry in entries:
            chunk.append(entry)
            if len(chunk) == _CHUNK:
                await _write(postgres, chunk, now)
                chunk = []
        await _write(postgres, chunk, now)
        async with asyncio.timeout(_WAIT_S), postgres.connection() as connection:
            while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):  # noqa: ASYNC110 - asks the server
                await asyncio.sleep(_POLL_S)


async def _write(postgres: Postgres, entries: list[_Entry], now: datetime) -> None:
    async with postgres.transaction() as connection:
        await outbox.append_many(connection, entries, occurred_at=now)


async def _fill(dsn: str, registrations: int, charges: int) -> dict[str, float]:
    now, chance = SystemClock().now(), random.Random(1)  # noqa: S311 - a history like any other
    await _append(dsn, "referral", _registrations(registrations, chance, now), now)
    await _append(dsn, "distribution", _charges(charges, chance, now), now)
    return {"facts": registrations + charges}


async def _rebuild(address: str, dsn: str) -> dict[str, float]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "leaderboard"})
    async with asyncio.timeout(_WAIT_S), rpc.channel(address, caller="gateway") as channel:
        await _caught_up(connection)
        asked = leaderboard_pb2.RebuildRequest(operator_id="bench", reason="bench")
        began = time.monotonic()
        await LeaderboardServiceStub(channel).Rebuild(asked)
        while await connection.fetchval(_UNDER_WAY):  # noqa: ASYNC110 - asks the server
            await asyncio.sleep(_POLL_S)
        seconds = time.monotonic() - began
    state = await connection.fetchval("SELECT state FROM rebuilds ORDER BY requested_at DESC LIMIT 1")
    await connection.close()
    if state != "done":
        raise RuntimeError(f"the rebuild {state}")
    return {"seconds": seconds}


async def _caught_up(connection: asyncpg.Connection) -> None:
    """Returns when leaderboard has applied all that its publishers had numbered."""
    behind = """
        SELECT EXISTS (
            SELECT FROM (TABLE referral.event_heads UNION ALL TABLE distribution.event_heads) AS heads
            LEFT JOIN inbox USING (topic, partition)
            WHERE topic IN ('referral.registrations.v1', 'distribution.finalized.v1')
                AND heads.position > coalesce(inbox.position, 0)
        )
    """
    while await connection.fetchval(behind):  # noqa: ASYNC110 - asks the server
        await asyncio.sleep(_POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser()
    what = parser.add_subparsers(dest="what", required=True)
    fill, rebuild = what.add_parser("fill"), what.add_parser("rebuild")
    fill.add_argument("dsn")
    fill.add_argument("registrations", type=int)
    fill.add_argument("charges", type=int)
    rebuild.add_argument("address")
    rebuild.add_argument("dsn")
    given = parser.parse_args()
    if given.what == "fill":
        told = uvloop.run(_fill(given.dsn, given.registrations, given.charges))
    else:
        told = uvloop.run(_rebuild(given.address, given.dsn))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
