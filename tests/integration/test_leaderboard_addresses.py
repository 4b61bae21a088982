"""Who has a wallet and shows no name is shown by its short address; the real score answers."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs import rpc
from protos.score.v1 import score_pb2
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.leaderboard import addresses
from services.leaderboard.addresses import ShortAddresses
from tests.conftest import Database
from tests.support.score import key, mesh_running

Eventually = Callable[..., Awaitable[Any]]
WALLET = key(7)


async def test_a_wallet_is_shown_by_its_short_address_until_it_is_unlinked(
    database: Database, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "KEPT_S", 0.2)
    # A score that is slow on a slow machine is not away.
    monkeypatch.setattr(addresses, "_TIMEOUT_S", 5.0)
    async with mesh_running(database) as mesh:
        await mesh.score.link("ann", WALLET)
        owner = await mesh.score.holders.GetWalletOwner(score_pb2.GetWalletOwnerRequest(wallet_address=WALLET.address))
        ann, bob = uuid.UUID(owner.account_ref), uuid.uuid4()
        shown = ShortAddresses(mesh.score.holders)
        short = f"0x{WALLET.address[2:6]}…{WALLET.address[-4:]}".lower()
        assert await shown.of([ann, bob]) == {ann: short}
        await mesh.score.unlink("ann", WALLET)

        async def forgotten() -> bool:
            return await shown.of([ann, bob]) == {}

        # What was remembered goes by itself, read or not: an erased account's too.
        await eventually(forgotten)
        await eventually(lambda: asyncio.sleep(0, not shown._known))


async def test_without_score_nobody_has_an_address_and_nobody_waits_for_it_twice() -> None:
    async with rpc.channel("127.0.0.1:1", caller="leaderboard") as nowhere:
        shown = ShortAddresses(ScoreServiceStub(nowhere))
        assert await shown.of([uuid.uuid4()]) == {}
        shunned_until = shown._shunned_until
        assert await shown.of([uuid.uuid4()]) == {}
        assert shown._shunned_until == shunned_until > 0
