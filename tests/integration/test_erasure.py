"""Forgetting an account: once, completely, whatever is on its way, and reported until it is heard."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest

from libs import erasure
from libs.ids import new_id
from libs.inbox import Received
from libs.postgres import Connection, Postgres, migrate
from protos.referral.v1 import admin_pb2
from protos.referral.v1.events_pb2 import AccountErased

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def postgres(empty_database: str) -> AsyncIterator[Postgres]:
    await migrate(empty_database, schema="score", directory=Path(__file__).parent / "none")
    async with await Postgres.open(empty_database, schema="score") as opened:
        async with opened.connection() as connection:
            await connection.execute(
                """
                CREATE TABLE people (account_id text PRIMARY KEY, account_ref uuid NOT NULL UNIQUE);
                CREATE TRIGGER people_not_erased BEFORE INSERT ON people
                    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');
                """
            )
        yield opened


async def keep(connection: Connection, account_id: str, account_ref: UUID) -> None:
    await connection.execute("INSERT INTO people VALUES ($1, $2)", account_id, account_ref)


async def erase(connection: Connection, account_ref: UUID, _erased_at: datetime) -> int:
    gone = await connection.fetch("DELETE FROM people WHERE account_ref = $1 RETURNING 1", account_ref)
    return len(gone)


async def told(postgres: Postgres, *erased: tuple[UUID, UUID]) -> None:
    """What the inbox does with such events."""
    log: Any = None
    handle = erasure.subscription(erase, log).handler
    events = [
        Received(position, new_id(), NOON, str(ref), AccountErased(account_ref=str(ref), erasure_id=str(erasure_id)))
        for position, (ref, erasure_id) in enumerate(erased, start=1)
    ]
    for event in events:
        event.message.erased_at.FromDatetime(NOON)
    async with postgres.transaction() as connection:
        await handle(connection, events)


async def people(postgres: Postgres) -> list[str]:
    async with postgres.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT account_id FROM people ORDER BY 1")]


class Referral:
    """Takes reports, or does not."""

    def __init__(self) -> None:
        self.heard: list[admin_pb2.ReportErasureRequest] = []
        self.code: grpc.StatusCode | None = None

    async def ReportErasure(  # noqa: N802 - the protocol's name
        self, request: admin_pb2.ReportErasureRequest, **_options: object
    ) -> admin_pb2.ReportErasureResponse:
        if self.code is not None:
            raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata())
        self.heard.append(request)
        return admin_pb2.ReportErasureResponse()


async def test_what_leads_to_an_account_goes_and_the_rest_stays(postgres: Postgres) -> None:
    alice, bob = new_id(), new_id()
    async with postgres.transaction() as connection:
        await keep(connection, "alice", alice)
        await keep(connection, "bob", bob)
    await told(postgres, (alice, new_id()), (new_id(), new_id()))
    assert await people(postgres) == ["bob"]
    async with postgres.connection() as connection:
        assert alice in await erasure.recent(connection)


async def test_a_mapping_that_was_on_its_way_is_not_kept(postgres: Postgres) -> None:
    alice = new_id()
    await told(postgres, (alice, new_id()))
    async with postgres.transaction() as connection:
        await keep(connection, "alice", alice)
    assert await people(postgres) == []


async def test_an_erased_id_may_come_back_as_somebody_new(postgres: Postgres) -> None:
    await told(postgres, (new_id(), new_id()))
    async with postgres.transaction() as connection:
        await keep(connection, "alice", new_id())
    assert await people(postgres) == ["alice"]


async def test_an_erasure_waits_for_what_is_written_and_not_committed(postgres: Postgres) -> None:
    alice = new_id()
    async with asyncio.TaskGroup() as tasks, postgres.transaction() as connection:
        await keep(connection, "alice", alice)
        erasing = tasks.create_task(told(postgres, (alice, new_id())))
        await asyncio.wait([erasing], timeout=0.2)
        assert not erasing.done()
    assert await people(postgres) == []


async def test_told_twice_it_is_erased_once(postgres: Postgres) -> None:
    alice, erasure_id = new_id(), new_id()
    async with postgres.transaction() as connection:
        await keep(connection, "alice", alice)
    await told(postgres, (alice, erasure_id))
    await told(postgres, (alice, erasure_id))
    referral: Any = Referral()
    assert await erasure.report(postgres, referral, older_than=timedelta(0)) == 1
    assert referral.heard == [admin_pb2.ReportErasureRequest(erasure_id=str(erasure_id), service="score", rows=1)]


async def test_it_is_reported_until_referral_has_answered_and_never_again(postgres: Postgres) -> None:
    await told(postgres, (new_id(), new_id()), (new_id(), new_id()))
    referral: Any = Referral()
    referral.code = grpc.StatusCode.UNAVAILABLE
    assert await erasure.report(postgres, referral, older_than=timedelta(0)) == 0
    referral.code = None
    assert await erasure.report(postgres, referral, older_than=timedelta(0)) == 2
    assert await erasure.report(postgres, referral, older_than=timedelta(0)) == 0
    assert len(referral.heard) == 2


async def test_it_is_reported_only_when_memories_had_time_to_go(postgres: Postgres) -> None:
    await told(postgres, (new_id(), new_id()))
    referral: Any = Referral()
    assert await erasure.report(postgres, referral, older_than=timedelta(hours=1)) == 0
    assert referral.heard == []
