"""A backup taken under load, everything after it lost, restored: books, positions and boards fit, and life goes on."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

import asyncpg

from deploy.local import audit
from deploy.local.state import PROJECT
from libs import rpc
from libs.timestamps import to_timestamp
from protos.distribution.v1 import audit_pb2, distribution_pb2_grpc
from protos.referral.v1 import referral_pb2, referral_pb2_grpc
from tests.support.distribution import charge, request
from tests.support.stacks import Stack

Eventually = Callable[..., Awaitable[Any]]
PAYERS = 8
BEFORE, AFTER = 150, 50
COUNT = "SELECT count(*)::int FROM distribution.distributions"
APPLIED = """
    SELECT sum(head.position - coalesce(inbox.position, 0))::int
    FROM distribution.event_heads AS head LEFT JOIN leaderboard.inbox USING (topic, partition)
    WHERE topic = 'distribution.finalized.v1'
"""
PHANTOMS = """
    SELECT count(*)::int FROM leaderboard.inbox
    LEFT JOIN (SELECT * FROM distribution.event_heads UNION ALL SELECT * FROM referral.event_heads) AS head
        USING (topic, partition)
    WHERE inbox.position > coalesce(head.position, 0)
"""


async def test_what_a_backup_holds_fits_together_and_the_rest_can_be_sent_again(
    stack: Stack, tmp_path: Path, eventually: Eventually
) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - charges of today
    await register(stack, now)
    file = tmp_path / "backup.dump"
    await send(stack, now, islice(count(), BEFORE))
    saving = backup(stack, file)
    meanwhile = await send(stack, now, takewhile(lambda _: saving.poll() is None, count(BEFORE)))
    assert saving.wait() == 0
    sent = await send(stack, now, range(meanwhile, meanwhile + AFTER))
    assert await fetch(stack, COUNT) == sent
    before = await balances(stack)
    await asyncio.to_thread(stack.down)

    restored = await asyncio.to_thread(subprocess.run, arguments("restore", file), cwd=PROJECT, env=stack.environment)
    assert restored.returncode == 0
    stack.start()
    assert BEFORE <= await fetch(stack, COUNT) <= meanwhile
    assert await fetch(stack, PHANTOMS) == 0
    await is_audited(stack)

    await send(stack, now, range(sent))
    assert await fetch(stack, COUNT) == sent
    await eventually(lambda: value(stack, APPLIED, equals=0), within=90)
    assert await balances(stack) == before
    assert await fetch(stack, PHANTOMS) == 0
    await is_audited(stack)


async def register(stack: Stack, now: datetime) -> None:
    async with rpc.channel(stack.line["referral"], caller="anonymous") as channel:
        referral = referral_pb2_grpc.ReferralServiceStub(channel)
        made = await referral.CreateCode(referral_pb2.CreateCodeRequest(account_id="creator"))
        for number in range(PAYERS // 2):
            await referral.Register(
                referral_pb2.RegisterRequest(
                    account_id=f"payer{number}", code=made.code.code, account_created_at=to_timestamp(now)
                )
            )


async def send(stack: Stack, now: datetime, numbers: Iterable[int]) -> int:
    """Finalizes the charges of these numbers, one after the other; returns the number of the next."""
    number = -1
    async with rpc.channel(stack.line["distribution"], caller="anonymous") as channel:
        distribution = distribution_pb2_grpc.DistributionServiceStub(channel)
        for number in numbers:
            await distribution.Finalize(request(charge(f"c{number}", f"payer{number % PAYERS}", finalized_at=now)))
    return number + 1


def backup(stack: Stack, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments("save", file), cwd=PROJECT, env=stack.environment)


def arguments(command: str, file: Path) -> list[str]:
    return [sys.executable, "-m", "deploy.local.backup", command, str(file)]


async def is_audited(stack: Stack) -> None:
    report, violations = await audit.ask(stack.line["distribution"])
    assert report.audit.state == audit_pb2.AUDIT_STATE_PASSED, violations


async def fetch(stack: Stack, query: str) -> Any:
    connection = await asyncpg.connect(stack.line["postgres"])
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def value(stack: Stack, query: str, *, equals: object) -> bool:
    return bool(await fetch(stack, query) == equals)


async def balances(stack: Stack) -> dict[str, int]:
    connection = await asyncpg.connect(stack.line["postgres"])
    try:
        rows = await connection.fetch("SELECT name, balance_micro FROM distribution.accounts WHERE balance_micro <> 0")
    finally:
        await connection.close()
    return {row["name"]: row["balance_micro"] for row in rows}
