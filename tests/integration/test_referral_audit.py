"""The audit log: written once, in order, without gaps; whoever changes it is found out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from services.referral.commands import audit
from services.referral.model.audit import AuditHead
from services.referral.rules import audit as rules
from services.referral.store import audit as store
from tests.conftest import Database
from tests.support.referral import START, Referral, opened

ACCOUNT = UUID(int=7)


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def act(referral: Referral, subject: str, *, operator_id: str = "olga", account_ref: UUID | None = None) -> int:
    async with referral.postgres.transaction() as connection:
        return await audit.record(
            connection,
            act="CODE_REVOKED",
            subject=subject,
            operator_id=operator_id,
            reason="Asked für it.\nTwice.",
            account_ref=account_ref,
            now=START,
        )


async def tampered(referral: Referral, statement: str) -> None:
    """Changes what the triggers protect, as somebody with the right to drop them could."""
    async with referral.postgres.transaction() as connection:
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        await connection.execute("ALTER TABLE audit_head DISABLE TRIGGER USER")
        await connection.execute(statement)
        await connection.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")
        await connection.execute("ALTER TABLE audit_head ENABLE TRIGGER USER")


async def test_acts_are_numbered_without_gaps_however_many_at_once(referral: Referral) -> None:
    async def fails() -> None:
        async with referral.postgres.transaction() as connection:
            await audit.record(connection, act="NEVER", subject="x", operator_id="olga", reason="y", now=START)
            raise RuntimeError

    acts = [act(referral, str(number)) for number in range(30)]
    done = await asyncio.gather(*acts, *(fails() for _ in range(5)), return_exceptions=True)
    assert sorted(each for each in done if isinstance(each, int)) == list(range(1, 31))
    assert await audit.broken_at(referral.postgres) is None
    assert [row["sequence"] for row in await referral.rows("SELECT sequence FROM audit_log ORDER BY 1")] == [
        *range(1, 31)
    ]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE audit_log SET reason = 'nothing' WHERE sequence = 3", 3),
        ("UPDATE audit_log SET subject = 'x' WHERE sequence = 1", 1),
        ("UPDATE audit_log SET operator_id = 'somebody' WHERE sequence = 5", 5),
        ("UPDATE audit_log SET account_ref = NULL WHERE sequence = 2", 2),
        ("UPDATE audit_log SET acted_at = acted_at + interval '1 microsecond' WHERE sequence = 4", 4),
        ("UPDATE audit_log SET hash = decode(repeat('00', 32), 'hex') WHERE sequence = 4", 4),
        ("DELETE FROM audit_log WHERE sequence = 3", 3),
        ("DELETE FROM audit_log WHERE sequence = 5", 5),
        ("DELETE FROM audit_log", 1),
        ("UPDATE audit_log SET sequence = sequence + 1 WHERE sequence >= 5", 5),
    ],
)
async def test_whoever_changes_the_log_is_found_out(referral: Referral, statement: str, place: int) -> None:
    for number in range(5):
        await act(referral, str(number), account_ref=ACCOUNT)
    assert await audit.broken_at(referral.postgres) is None
    await tampered(referral, statement)
    assert await audit.broken_at(referral.postgres) == place


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET reason = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "UPDATE audit_head SET sequence = 0",
        "UPDATE audit_head SET sequence = sequence + 1",
        "DELETE FROM audit_head",
        "INSERT INTO audit_head VALUES (false, 0, decode(repeat('00', 32), 'hex'))",
    ],
)
async def test_the_database_itself_refuses_to_change_it(referral: Referral, statement: str) -> None:
    await act(referral, "x")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await referral.execute(statement)


async def test_a_row_that_was_forged_whole_breaks_the_next_one(referral: Referral) -> None:
    for number in range(3):
        await act(referral, str(number))
    async with referral.postgres.connection() as connection:
        first, second, _ = await store.after(connection, 0, limit=10)
    forged = rules.chained(AuditHead(1, first.hash), replace(second.act, reason="nothing"))
    await tampered(
        referral,
        f"UPDATE audit_log SET reason = 'nothing', hash = decode('{forged.hash.hex()}', 'hex') WHERE sequence = 2",  # noqa: S608 - hex
    )
    assert await audit.broken_at(referral.postgres) == 3


async def test_pages_go_from_the_newest_to_the_oldest(referral: Referral) -> None:
    for number in range(5):
        await act(referral, str(number), operator_id="olga" if number % 2 else "oleg", account_ref=ACCOUNT)
    async with referral.postgres.connection() as connection:
        first = await store.page(connection, account_ref=ACCOUNT, operator_id=None, below=None, limit=2)
        second = await store.page(connection, account_ref=ACCOUNT, operator_id=None, below=4, limit=9)
        olga = await store.page(connection, account_ref=None, operator_id="olga", below=None, limit=9)
        nobody = await store.page(connection, account_ref=UUID(int=8), operator_id=None, below=None, limit=9)
    assert [row.sequence for row in first] == [5, 4]
    assert [row.sequence for row in second] == [3, 2, 1]
    assert [row.sequence for row in olga] == [4, 2]
    assert nobody == []
