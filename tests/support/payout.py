"""Payout through its real doors, beside the real referral, the real treasury and the provider's simulator."""

import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc
from eth_account import Account
from eth_account.messages import encode_defunct

from deploy.local.nowpayments import Coin, Merchant
from libs import rpc
from libs.clock import ManualClock
from libs.postgres import Postgres
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.payout.v1 import admin_pb2, admin_pb2_grpc, events_pb2, payout_pb2, payout_pb2_grpc
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from services.payout.accounts import Accounts
from services.payout.commands.advancing import Advancing
from services.payout.commands.handover import Handover
from services.payout.commands.opening import Opening
from services.payout.commands.pricing import Pricing
from services.payout.commands.requesting import Requesting
from services.payout.ledger import Ledger
from services.payout.screening import Screening
from services.payout.servicer import admin, payout
from services.payout.settings import Settings
from tests.conftest import Database
from tests.support import treasury
from tests.support.databases import Databases
from tests.support.distribution import RunningReferral, referral_running
from tests.support.provider import IPN_SECRET, TRON, Running, client_of, provider_running
from tests.support.treasury import Treasury

DOLLAR = 1_000_000
MINUTE = timedelta(minutes=1)
EVM_COIN = "usdcmatic"
OLGA = {"operator_id": "olga", "reason": "looked at"}
OTTO = {"operator_id": "otto", "reason": "looked at, too"}


def wallet(number: int) -> Any:
    """A wallet of the tests; the same number is the same wallet."""
    return Account.from_key((number + 1_000).to_bytes(32))


def signed(by: Any, text: str) -> str:
    return "0x" + bytes(by.sign_message(encode_defunct(text=text)).signature).hex()


def key() -> str:
    return str(uuid.uuid4())


async def said(call: Awaitable[Any]) -> str:
    """What came of a call in a word: "OK", or the reason of the refusal."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return rpc.refusal_of(error).reason
    return "OK"


@dataclass
class Payouts:
    """One replica of payout."""

    postgres: Postgres
    books: Treasury
    referral: RunningReferral
    running: Running
    settings: Settings
    owners: Any
    admin: Any
    advancing: Advancing
    pricing: Pricing
    engine: Handover
    accounts: Accounts
    wallets: dict[str, Any] = field(default_factory=dict)

    @property
    def clock(self) -> ManualClock:
        return self.books.clock

    async def creator(self, earned_micro: int = 1_000 * DOLLAR, account_id: str = "") -> str:
        """An account with that much to withdraw, and a wallet of its own."""
        account_id = account_id or f"creator-{uuid.uuid4()}"
        ref = await self.referral.commands.ref(account_id)
        if earned_micro:
            await self.books.earn(ref, earned_micro)
            self.clock.advance(treasury.HOLD)
            await self.books.settle()
        await self.pricing.refresh(self.clock.now())
        self.wallets[account_id] = wallet(len(self.wallets))
        return account_id

    async def ref(self, account_id: str) -> str:
        return await self.referral.commands.ref(account_id)

    def asking(
        self, account_id: str, amount_micro: int = 40 * DOLLAR, **changed: Any
    ) -> payout_pb2.RequestPayoutRequest:
        plain = {
            "request_id": key(),
            "account_id": account_id,
            "amount_micro": amount_micro,
            "currency": EVM_COIN,
            "destination_address": self.wallets[account_id].address,
        }
        return payout_pb2.RequestPayoutRequest(**(plain | changed))

    async def request(self, account_id: str, amount_micro: int = 40 * DOLLAR, **changed: Any) -> payout_pb2.Payout:
        made: payout_pb2.Payout = (
            await self.owners.RequestPayout(self.asking(account_id, amount_micro, **changed), timeout=10)
        ).payout
        return made

    async def sign(self, account_id: str, asked: payout_pb2.Payout, **changed: Any) -> payout_pb2.Payout:
        """Confirms a payout with its wallet."""
        plain = {
            "request_id": key(),
            "account_id": account_id,
            "payout_id": asked.payout_id,
            "signature": signed(self.wallets[account_id], asked.confirmation.text),
        }
        request = payout_pb2.ConfirmPayoutRequest(**(plain | changed))
        confirmed: payout_pb2.Payout = (await self.owners.ConfirmPayout(request, timeout=10)).payout
        return confirmed

    async def queued(self, account_id: str, amount_micro: int = 40 * DOLLAR) -> payout_pb2.Payout:
        """A payout with nothing left to wait for but its turn."""
        asked = await self.request(account_id, amount_micro)
        stage = asked.stage
        if stage == events_pb2.PAYOUT_STAGE_AWAITING_CONFIRMATION:
            stage = (await self.sign(account_id, asked)).stage
        for operator in (OLGA, OTTO):
            if stage == events_pb2.PAYOUT_STAGE_AWAITING_APPROVAL:
                stage = (await self.approve(asked.payout_id, operator)).payout.stage
        return await self.payout(account_id, asked.payout_id)

    async def payout(self, account_id: str, payout_id: str) -> payout_pb2.Payout:
        got = await self.owners.GetPayout(payout_pb2.GetPayoutRequest(account_id=account_id, payout_id=payout_id))
        found: payout_pb2.Payout = got.payout
        return found

    async def stage(self, payout_id: str) -> str:
        number = await self.value("SELECT stage FROM payouts WHERE payout_id = $1", uuid.UUID(payout_id))
        return events_pb2.PayoutStage.Name(number).removeprefix("PAYOUT_STAGE_")

    async def stages(self, payout_id: str) -> list[str]:
        rows = await self.rows(
            "SELECT stage FROM payout_changes WHERE payout_id = $1 ORDER BY revision", uuid.UUID(payout_id)
        )
        return [events_pb2.PayoutStage.Name(row["stage"]).removeprefix("PAYOUT_STAGE_") for row in rows]

    async def cancel(self, account_id: str, payout_id: str) -> payout_pb2.Payout:
        request = payout_pb2.CancelPayoutRequest(request_id=key(), account_id=account_id, payout_id=payout_id)
        cancelled: payout_pb2.Payout = (await self.owners.CancelPayout(request)).payout
        return cancelled

    async def retry(self, account_id: str, payout_id: str) -> payout_pb2.Payout:
        request = payout_pb2.RetryPayoutRequest(request_id=key(), account_id=account_id, payout_id=payout_id)
        again: payout_pb2.Payout = (await self.owners.RetryPayout(request)).payout
        return again

    async def approve(self, payout_id: str, operator: dict[str, str] | None = None) -> admin_pb2.PayoutRecord:
        request = admin_pb2.ApprovePayoutRequest(request_id=key(), payout_id=payout_id, **(operator or OLGA))
        approved: admin_pb2.PayoutRecord = (await self.admin.ApprovePayout(request)).payout
        return approved

    async def to_end(self, payout_id: str) -> str:
        """Everybody does their part until a payout is final and settled; answers its stage."""
        for _ in range(80):
            await self.advancing.run()
            await self.engine.run()
            row = (await self.rows("SELECT stage, money FROM payouts WHERE payout_id = $1", uuid.UUID(payout_id)))[0]
            if row["stage"] >= 10 and row["money"] == 4:
                return await self.stage(payout_id)
            self.clock.advance(MINUTE)
            await self.pricing.refresh(self.clock.now())
        raise AssertionError(f"still {await self.stage(payout_id)}")

    async def withdrawable(self, account_id: str) -> int:
        return (await self.books.earnings(await self.ref(account_id))).withdrawable_micro

    async def held(self, account_id: str) -> int:
        return await self.books.part(await self.ref(account_id), "held")

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        async with self.postgres.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    async def value(self, query: str, *args: object) -> Any:
        async with self.postgres.connection() as connection:
            return await connection.fetchval(query, *args)


@asynccontextmanager
async def replica(
    dsn: str, books: Treasury, referral: RunningReferral, running: Running, ledger_port: int, **changed: str
) -> AsyncIterator[Payouts]:
    """One replica on a database: start two for two replicas."""
    settings = Settings.read({"ADDRESS_KEY": "a key of the tests, long enough"} | changed)
    clock = books.clock
    async with (
        await Postgres.open(dsn, schema="payout", pool_max=8) as postgres,
        rpc.channel(f"127.0.0.1:{referral.server.port}", caller="payout") as to_referral,
        rpc.channel(f"127.0.0.1:{ledger_port}", caller="payout") as to_ledger,
        client_of(running, clock) as client,
    ):
        accounts = Accounts(postgres, ReferralServiceStub(to_referral))
        screening = Screening(settings.screening_file)
        ledger = Ledger(TreasuryServiceStub(to_ledger))
        advancing = Advancing(postgres, clock, ledger, accounts, screening, settings.terms)
        pricing = Pricing(postgres, clock, client, settings.currencies, max_age=settings.price_max_age)
        opening = Opening(postgres, clock, settings, accounts, pricing, screening)
        requesting = Requesting(postgres, opening, advancing)
        owners = payout.PayoutServicer(postgres, clock, settings, accounts, pricing, requesting, advancing)
        async with _served(
            owners, admin.PayoutAdminServicer(postgres, clock, settings, accounts, advancing, client)
        ) as (
            to_owners,
            to_admin,
        ):
            yield Payouts(
                postgres,
                books,
                referral,
                running,
                settings,
                to_owners,
                to_admin,
                advancing,
                pricing,
                Handover(postgres, clock, client, fee_paid_by="sender", enabled=settings.payouts_enabled),
                accounts,
            )


@asynccontextmanager
async def _served(
    owners: payout.PayoutServicer, desk: admin.PayoutAdminServicer
) -> AsyncIterator[tuple[payout_pb2_grpc.PayoutServiceStub, admin_pb2_grpc.PayoutAdminServiceStub]]:
    server = rpc.Server("payout", test_mode=True, drain_wait_seconds=0)
    server.add(
        payout_pb2_grpc.add_PayoutServiceServicer_to_server, owners, "creator.payout.v1.PayoutService", payout.CALLERS
    )
    server.add(
        admin_pb2_grpc.add_PayoutAdminServiceServicer_to_server,
        desk,
        "creator.payout.v1.PayoutAdminService",
        admin.CALLERS,
    )
    await server.start()
    await server.ready()
    try:
        async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous") as channel:
            yield payout_pb2_grpc.PayoutServiceStub(channel), admin_pb2_grpc.PayoutAdminServiceStub(channel)
    finally:
        await server.drain(hasty=True)


@asynccontextmanager
async def payouts_running(database: Database, **changed: str) -> AsyncIterator[Payouts]:
    """Everything that a payout takes, each on a database of its own."""
    dsn = await database("payout")
    custody = {each: Coin(Decimal(100_000)) for each in ("usdttrc20", EVM_COIN)}
    merchant = Merchant("key", "a@example.test", "Secret", custody, ipn_secret=IPN_SECRET)
    async with (
        treasury.opened(await database("distribution")) as books,
        referral_running(await database("referral")) as referral,
        treasury.listening(books) as port,
        provider_running(books.clock, merchant) as running,
        replica(
            dsn, books, referral, running, port, **({"PAYOUT_CURRENCIES": f"{EVM_COIN},usdttrc20"} | changed)
        ) as payouts,
    ):
        yield payouts


__all__ = [
    "DOLLAR",
    "EVM_COIN",
    "OLGA",
    "OTTO",
    "TRON",
    "Payouts",
    "key",
    "payouts_running",
    "replica",
    "said",
    "signed",
    "wallet",
]


@asynccontextmanager
async def payouts_shared(databases: Databases) -> AsyncIterator[Payouts]:
    """One replica for a module of tests, whose databases go with it."""
    made: list[str] = []

    async def create(service: str) -> str:
        made.append(await databases.create(service))
        return databases.dsn_of(made[-1])

    async with payouts_running(create) as running:
        yield running
    for name in made:
        await databases.drop(name)
