"""The evidence: accounts are erased in the whole stack, and what every store holds afterwards is searched for them."""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
import redis.asyncio as redis
from google.protobuf.timestamp_pb2 import Timestamp

from libs import rpc
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc
from protos.leaderboard.v1 import leaderboard_pb2, leaderboard_pb2_grpc
from protos.referral.v1 import admin_pb2, admin_pb2_grpc, referral_pb2, referral_pb2_grpc
from tests.support.eventually import eventually
from tests.support.stacks import Stack

CREATOR, REFEREE, BYSTANDER = "creator-to-be-forgotten", "referee-to-be-forgotten", "bystander-who-stays"
CODE, NAME = "forgetmenow", "Erasmus Vanish"
REPORTING = frozenset({"referral", "distribution", "leaderboard", "score"})


class Mesh:
    """Stubs of the running services, called as the local stack's anonymous caller."""

    def __init__(self, stack: Stack, channels: dict[str, grpc.aio.Channel]) -> None:
        self.stack = stack
        self.referral = referral_pb2_grpc.ReferralServiceStub(channels["referral"])
        self.admin = admin_pb2_grpc.ReferralAdminServiceStub(channels["referral"])
        self.distribution = distribution_pb2_grpc.DistributionServiceStub(channels["distribution"])
        self.requests: dict[str, distribution_pb2.FinalizeRequest] = {}
        self.leaderboard = leaderboard_pb2_grpc.LeaderboardServiceStub(channels["leaderboard"])

    async def finalize(self, charge_id: str, payer: str) -> Any:
        """Sends a charge; one that was sent before is sent again as it was."""
        self.requests.setdefault(charge_id, _charge(charge_id, payer))
        return await self.distribution.Finalize(self.requests[charge_id], timeout=10)

    async def erase(self, account_id: str, request_id: str) -> str:
        answer = await self.admin.RequestErasure(
            admin_pb2.RequestErasureRequest(
                request_id=request_id,
                account_id=account_id,
                forfeit_consent=True,
                operator_id=account_id,
                reason="I want to be forgotten.",
            ),
            timeout=10,
        )
        return answer.erasure.erasure_id

    async def reported(self, erasure_id: str) -> bool:
        erasure = (await self.admin.GetErasure(admin_pb2.GetErasureRequest(erasure_id=erasure_id), timeout=10)).erasure
        return {each.service for each in erasure.services} >= REPORTING


def _now() -> Timestamp:
    now = Timestamp()
    now.FromNanoseconds(time.time_ns())
    return now


def _charge(charge_id: str, payer: str) -> distribution_pb2.FinalizeRequest:
    request = distribution_pb2.FinalizeRequest(
        inference_charge_id=charge_id,
        payer_account_id=payer,
        community_id="artists",
        revenue_micro=100_000,
        provider_cost_micro=50_000,
        model="gpt-4o",
        model_tier="standard",
    )
    request.finalized_at.CopyFrom(_now())
    return request


@pytest.fixture
async def mesh(stack: Stack) -> AsyncIterator[Mesh]:
    names = ("referral", "distribution", "leaderboard")
    channels = {name: rpc.channel(stack.line[name], caller="anonymous") for name in names}
    yield Mesh(stack, channels)
    for channel in channels.values():
        await channel.close()


async def everything(stack: Stack) -> str:
    """All rows of all schemas and all keys and values of Redis; bytes as the text that could hide in them."""
    found: list[str] = []

    def add(value: object) -> None:
        found.append(value.decode("latin-1") if isinstance(value, bytes) else str(value))

    connection = await asyncpg.connect(stack.line["postgres"])
    try:
        tables = await connection.fetch(
            """
            SELECT format('%I.%I', nspname, relname) AS name FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg_toast%'
            """
        )
        assert len(tables) > 50
        for table in tables:
            for row in await connection.fetch(f"SELECT * FROM {table['name']}"):  # noqa: S608 - our own tables
                for value in row.values():
                    add(value)
    finally:
        await connection.close()
    async with redis.Redis.from_url(stack.line["redis"]) as store:
        async for key in store.scan_iter():
            add(key)
            add(await store.dump(key))
    return "\n".join(found)


async def refs(mesh: Mesh, *account_ids: str) -> dict[str, str]:
    request = referral_pb2.ResolveAccountsRequest(account_ids=account_ids, existing_only=True)
    return {each.account_id: each.account_ref for each in (await mesh.referral.ResolveAccounts(request)).accounts}


async def lead_a_life(mesh: Mesh) -> None:
    """A creator with a code and a name, a referee and a bystander who pay, all of them on boards."""
    now = _now()
    await mesh.referral.CreateCode(referral_pb2.CreateCodeRequest(account_id=CREATOR, vanity_code=CODE))
    for account_id in (REFEREE, BYSTANDER):
        await mesh.referral.Register(
            referral_pb2.RegisterRequest(
                account_id=account_id,
                code=CODE,
                account_created_at=now,
                channel="discord",
                client=referral_pb2.ClientContext(ip_address="192.0.2.77", user_agent="Forgetful/1.0"),
            )
        )
        await mesh.finalize(f"first-{account_id[:4]}", account_id)
    await mesh.leaderboard.SetProfile(leaderboard_pb2.SetProfileRequest(account_id=CREATOR, display_name=NAME))
    await eventually(lambda: shown(mesh), within=60)


async def board(mesh: Mesh) -> list[leaderboard_pb2.BoardRow]:
    request = leaderboard_pb2.GetBoardRequest(timeframe=leaderboard_pb2.TIMEFRAME_ALL_TIME)
    return list((await mesh.leaderboard.GetBoard(request)).rows)


async def shown(mesh: Mesh) -> bool:
    return [(row.display_name, row.referral_count) for row in await board(mesh)] == [(NAME, 2)]


async def test_after_an_erasure_nothing_anywhere_leads_to_the_account(mesh: Mesh) -> None:
    await lead_a_life(mesh)
    before = await refs(mesh, CREATOR, REFEREE)
    text = await everything(mesh.stack)
    for trace in (CREATOR, REFEREE, BYSTANDER, CODE, NAME):
        assert trace in text
    for erasure_id in [await mesh.erase(CREATOR, "forget-1"), await mesh.erase(REFEREE, "forget-2")]:
        await eventually(partial(mesh.reported, erasure_id), within=90)

    text = await everything(mesh.stack)
    for trace in (CREATOR, REFEREE, CODE, NAME, "192.0.2.77", "Forgetful"):
        assert trace not in text
    assert BYSTANDER in text
    await no_table_joins_a_surrogate_to_a_person(mesh, {UUID(ref) for ref in before.values()})
    # The board keeps its row, and it is nobody's.
    (row,) = await board(mesh)
    assert row.display_name.startswith("0x")
    # Old charges are answered as ever; who comes back is somebody new.
    assert (await mesh.finalize("first-refe", REFEREE)).replayed
    answer = await mesh.finalize("after", REFEREE)
    assert not answer.replayed
    assert not answer.referrer_micro
    assert (await refs(mesh, REFEREE))[REFEREE] != before[REFEREE]


async def no_table_joins_a_surrogate_to_a_person(mesh: Mesh, gone: set[UUID]) -> None:
    connection = await asyncpg.connect(mesh.stack.line["postgres"])
    try:
        for table in (
            "referral.accounts", "distribution.attributions", "distribution.account_refs",
            "leaderboard.accounts", "leaderboard.profiles",
        ):  # fmt: skip
            left = await connection.fetch(f"SELECT account_ref FROM {table}")  # noqa: S608 - constants
            assert gone.isdisjoint(row["account_ref"] for row in left), table
    finally:
        await connection.close()
