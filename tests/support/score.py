"""Score through its real doors, on a database of its own, beside the ledger that holds its pool."""

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct

from libs import rpc
from libs.clock import ManualClock
from libs.postgres import Postgres
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from protos.score.v1 import admin_pb2, admin_pb2_grpc, score_pb2, score_pb2_grpc
from services.score import servicer
from services.score.accounts import AccountRefs
from services.score.commands.advancing import Advancing
from services.score.commands.schedule import Schedule
from services.score.contracts import Contracts
from services.score.settings import Settings
from tests.conftest import Database
from tests.support.campaigns import SCORE, Campaigns, campaigns_running
from tests.support.distribution import ledger_running, referral_running

START = datetime(2026, 12, 3, 12, tzinfo=UTC)
PERIOD = "2026-11"
"""The month that is over at START."""


def key(number: int) -> Any:
    """A wallet of the tests; the same number is the same wallet."""
    return Account.from_key(number.to_bytes(32))


def signed(wallet: Any, text: str) -> str:
    return "0x" + bytes(wallet.sign_message(encode_defunct(text=text)).signature).hex()


def csv_of(scores: Mapping[str, object]) -> bytes:
    return ("address,score\n" + "".join(f"{address},{score}\n" for address, score in scores.items())).encode()


@dataclass
class Score:
    """One replica of score."""

    postgres: Postgres
    clock: ManualClock
    settings: Settings
    holders: Any
    admin: Any
    advancing: Advancing
    schedule: Schedule
    account_refs: AccountRefs
    order: dict[str, str] = field(default_factory=lambda: {"operator_id": "olga", "reason": "monthly"})

    async def challenge(self, account_id: str, wallet: Any, chain_id: int = 1) -> score_pb2.CreateChallengeResponse:
        request = score_pb2.CreateChallengeRequest(
            account_id=account_id, wallet_address=wallet.address, chain_id=chain_id
        )
        response: score_pb2.CreateChallengeResponse = await self.holders.CreateChallenge(request)
        return response

    async def try_link(
        self, account_id: str, wallet: Any, nonce: str, signature: str, chain_id: int = 1
    ) -> score_pb2.LinkWalletResponse:
        request = score_pb2.LinkWalletRequest(
            account_id=account_id,
            wallet_address=wallet.address,
            chain_id=chain_id,
            nonce=nonce,
            signature=signature,
        )
        response: score_pb2.LinkWalletResponse = await self.holders.LinkWallet(request)
        return response

    async def link(self, account_id: str, wallet: Any, chain_id: int = 1) -> score_pb2.LinkWalletResponse:
        asked = await self.challenge(account_id, wallet, chain_id)
        return await self.try_link(account_id, wallet, asked.nonce, signed(wallet, asked.text), chain_id)

    async def unlink(self, account_id: str, wallet: Any) -> score_pb2.UnlinkWalletResponse:
        request = score_pb2.UnlinkWalletRequest(account_id=account_id, wallet_address=wallet.address)
        response: score_pb2.UnlinkWalletResponse = await self.holders.UnlinkWallet(request)
        return response

    async def seed_wallets(self, addresses: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """Links wallets without their signatures, many at once; answers the surrogates."""
        refs = {account_id: uuid.uuid4() for account_id in addresses}
        async with self.postgres.transaction() as connection:
            await connection.copy_records_to_table(
                "accounts", records=list(refs.items()), columns=("account_id", "account_ref")
            )
            await connection.copy_records_to_table(
                "wallets",
                records=[
                    (uuid.uuid4(), bytes.fromhex(address[2:]), refs[account_id], 1, 1, b"\0" * 16, self.clock.now(), 1)
                    for account_id, own in addresses.items()
                    for address in own
                ],
                columns=(
                    "wallet_ref", "address", "account_ref", "chain_id", "state", "nonce", "linked_at", "revision",
                ),
            )  # fmt: skip
        return {account_id: str(account_ref) for account_id, account_ref in refs.items()}

    async def bring(self, file: bytes, *, piece: int = 2**16, **changed: Any) -> admin_pb2.ImportScoresResponse:
        """Sends a file of scores."""
        plain: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "period": PERIOD,
            "format": admin_pb2.SCORE_FORMAT_CSV,
            "taken_at": to_timestamp(self.clock.now()),
            "source": "test",
            **self.order,
        }
        header = admin_pb2.ImportHeader(**(plain | changed))

        def parts() -> Iterator[admin_pb2.ImportScoresRequest]:
            yield admin_pb2.ImportScoresRequest(header=header)
            for start in range(0, len(file), piece):
                yield admin_pb2.ImportScoresRequest(chunk=file[start : start + piece])

        response: admin_pb2.ImportScoresResponse = await self.admin.ImportScores(parts(), timeout=120)
        return response

    async def errors(self, import_id: str) -> list[tuple[int, str, str]]:
        response = await self.admin.ListImportErrors(admin_pb2.ListImportErrorsRequest(import_id=import_id))
        return [(each.line, each.reason, each.text) for each in response.errors]

    async def freeze(self, period: str = PERIOD, **changed: str) -> admin_pb2.Run:
        asked = {"request_id": str(uuid.uuid4()), "period": period, **self.order} | changed
        run: admin_pb2.Run = (await self.admin.FreezeRun(admin_pb2.FreezeRunRequest(**asked), timeout=30)).run
        return run

    async def start(self, run_id: str) -> admin_pb2.Run:
        asked = {"request_id": str(uuid.uuid4()), "run_id": run_id, **self.order}
        run: admin_pb2.Run = (await self.admin.StartRun(admin_pb2.StartRunRequest(**asked))).run
        return run

    async def abort(self, run_id: str) -> admin_pb2.Run:
        asked = {"request_id": str(uuid.uuid4()), "run_id": run_id, **self.order}
        run: admin_pb2.Run = (await self.admin.AbortRun(admin_pb2.AbortRunRequest(**asked))).run
        return run

    async def run(self, run_id: str) -> admin_pb2.Run:
        run: admin_pb2.Run = (await self.admin.GetRun(admin_pb2.GetRunRequest(run_id=run_id))).run
        return run

    async def rewarded(self) -> admin_pb2.Run:
        """Freezes, lets go and advances a run as far as it goes."""
        run = await self.freeze()
        await self.start(run.run_id)
        await self.advancing.advance(uuid.UUID(run.run_id))
        return await self.run(run.run_id)

    async def allocations(self, run_id: str) -> dict[str, int]:
        response = await self.admin.ListAllocations(admin_pb2.ListAllocationsRequest(run_id=run_id, page_size=1000))
        return {each.account_ref: each.reward_micro for each in response.allocations}

    async def proof(self, account_id: str, run_id: str) -> score_pb2.GetProofResponse:
        response: score_pb2.GetProofResponse = await self.holders.GetProof(
            score_pb2.GetProofRequest(account_id=account_id, run_id=run_id)
        )
        return response

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        async with self.postgres.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]


class Halting(Advancing):
    """Stops before its n-th step, as a process that is killed there."""

    def __init__(self, score: Score, steps: int) -> None:
        super().__init__(score.postgres, score.clock, score.advancing._campaigns)
        self.left = steps

    async def _step(self, run: object) -> None:
        if not self.left:
            raise ConnectionResetError("killed")
        self.left -= 1
        await super()._step(run)  # type: ignore[arg-type]


@dataclass
class Mesh:
    """Score with the distribution and the referral that it asks."""

    score: Score
    campaigns: Campaigns
    dsn: str

    async def pool(self, amount_micro: int) -> str:
        return await self.campaigns.active(amount_micro, SCORE)


@asynccontextmanager
async def score_running(dsn: str, campaigns: Campaigns, **changed: str) -> AsyncIterator[Score]:
    """One replica on a database: start two for two replicas."""
    settings = Settings.read(changed)
    clock = ManualClock(START)
    ledger = campaigns.ledger
    async with (
        await Postgres.open(dsn, schema="score", pool_max=5) as postgres,
        rpc.channel(f"127.0.0.1:{ledger.referral.server.port}", caller="score") as to_referral,
    ):
        refs = AccountRefs(postgres, referral_pb2_grpc.ReferralServiceStub(to_referral))
        stub: campaigns_pb2_grpc.CampaignsServiceStub = campaigns.stub
        advancing = Advancing(postgres, clock, stub)
        contracts = Contracts(settings.endpoints, settings.chain_timeout_seconds)
        server = rpc.Server("score", test_mode=True, drain_wait_seconds=0)
        server.add(
            score_pb2_grpc.add_ScoreServiceServicer_to_server,
            servicer.ScoreServicer(postgres, clock, settings, refs, contracts),
            "creator.score.v1.ScoreService",
            servicer.CALLERS,
        )
        server.add(
            admin_pb2_grpc.add_ScoreAdminServiceServicer_to_server,
            servicer.ScoreAdminServicer(postgres, clock, settings, advancing),
            "creator.score.v1.ScoreAdminService",
            servicer.ADMIN_CALLERS,
        )
        await server.start()
        await server.ready()
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous") as channel:
                yield Score(
                    postgres,
                    clock,
                    settings,
                    score_pb2_grpc.ScoreServiceStub(channel),
                    admin_pb2_grpc.ScoreAdminServiceStub(channel),
                    advancing,
                    Schedule(postgres, clock, stub, settings),
                    refs,
                )
        finally:
            await server.drain(hasty=True)
            await contracts.close()


@asynccontextmanager
async def mesh_running(database: Database, **changed: str) -> AsyncIterator[Mesh]:
    """Everything that a run takes, each on a database of its own."""
    dsn = await database("score")
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
        score_running(dsn, campaigns, **changed) as score,
    ):
        yield Mesh(score, campaigns, dsn)
