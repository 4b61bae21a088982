"""Distribution in this process: its real parts on a database of one's own, beside the real referral over loopback."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from libs import rpc
from libs.clock import ManualClock
from libs.postgres import Postgres
from libs.refusals import Refusal
from libs.rpc.errors import as_refusal
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc, events_pb2, ledger_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from services.distribution.attribution import Attributions
from services.distribution.commands.finalize import Finalizer, finalize, finalize_batch
from services.distribution.model import Answer, Charge
from services.distribution.servicer import distribution, ledger
from services.distribution.settings import Settings
from services.distribution.writer.group import GroupWriter
from services.distribution.writer.ticket import Outcome
from services.referral.servicer import referral as referral_servicer
from tests.support import referral as referrals

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "a development key of some length"


def charge(charge_id: str = "", payer: str = "payer", revenue_micro: int = 100_000, **other: Any) -> Charge:
    """A charge with nothing special about it but what is given."""
    plain: dict[str, Any] = {
        "inference_charge_id": charge_id or f"charge-{uuid.uuid4()}",
        "payer_account_id": payer,
        "community_id": "artists",
        "revenue_micro": revenue_micro,
        "promotional_micro": 0,
        "provider_cost_micro": revenue_micro // 2,
        "model": "gpt-4o",
        "model_tier": "standard",
        "model_breakdown": (),
        "funding": (),
        "finalized_at": NOW,
    }
    return Charge(**(plain | other))


def settings(**changed: str) -> Settings:
    # Who is slow on a slow machine is not away.
    patient = {"ATTRIBUTION_WAIT_SECONDS": "20", "LEDGER_PATIENCE_SECONDS": "20"}
    return Settings.read({"FINGERPRINT_KEY": KEY} | patient | changed)


@dataclass
class Ledger:
    """One replica of distribution, without its process."""

    postgres: Postgres
    clock: ManualClock
    attributions: Attributions
    writer: GroupWriter
    finalizer: Finalizer
    server: rpc.Server
    referral: "RunningReferral"
    stub: distribution_pb2_grpc.DistributionServiceStub
    balances_stub: ledger_pb2_grpc.LedgerServiceStub
    stop: Callable[[], None]
    """Ends the background parts, as a crash or a SIGTERM would."""

    async def finalize(self, one: Charge) -> Answer:
        return await finalize(self.finalizer, one)

    def forget(self, payer: str) -> None:
        """Drops a payer from memory, as an eviction would."""
        self.attributions._known.pop(payer)

    async def try_finalize(self, one: Charge) -> str:
        """What came of it in a word: the outcome, "REPLAYED", or the reason of the refusal."""
        try:
            answer = await self.finalize(one)
        except Exception as error:  # noqa: BLE001 - whatever comes of it
            return as_refusal(error).reason
        return "REPLAYED" if answer.replayed else answer.posted.decision.referrer_outcome.name

    async def finalize_batch(self, many: Iterable[Charge]) -> list[Outcome]:
        return await finalize_batch(self.finalizer, list(many))

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        async with self.postgres.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    async def value(self, query: str, *args: object) -> Any:
        async with self.postgres.connection() as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, statement: str, *args: object) -> None:
        async with self.postgres.transaction() as connection:
            await connection.execute(statement, *args)

    async def balances(self) -> dict[str, int]:
        """Every account that is not zero."""
        rows = await self.rows("SELECT name, balance_micro FROM accounts WHERE balance_micro <> 0")
        return {row["name"]: row["balance_micro"] for row in rows}

    async def entries(self) -> dict[str, int]:
        """The same, from the journal."""
        rows = await self.rows("SELECT account, sum(amount_micro)::bigint AS total FROM entries GROUP BY account")
        return {row["account"]: row["total"] for row in rows if row["total"]}

    async def count(self) -> int:
        return int(await self.value("SELECT count(*) FROM distributions"))

    async def told(self) -> Counter[str]:
        """How often each charge is in the events."""
        rows = await self.rows("SELECT payload FROM outbox UNION ALL SELECT payload FROM events")
        events = [events_pb2.ChargesFinalized.FromString(row["payload"]) for row in rows]
        return Counter(each.inference_charge_id for event in events for each in event.charges)

    async def check_books(self) -> None:
        """Balances, journal and events say the same, and the whole is zero."""
        balances = await self.balances()
        assert balances == await self.entries()
        assert sum(balances.values()) == 0
        charge_ids = [
            row["inference_charge_id"] for row in await self.rows("SELECT inference_charge_id FROM distributions")
        ]
        assert await self.told() == Counter(charge_ids)


@dataclass
class RunningReferral:
    """The real referral behind a real port."""

    commands: referrals.Referral
    server: rpc.Server
    asked: list[str] = field(default_factory=list)
    calls: int = 0

    async def refer(self, payer: str, registered_at: datetime, referrer: str = "creator") -> str:
        """Binds a payer to a referrer at an instant; answers the referrer's surrogate."""
        self.commands.clock = ManualClock(registered_at)
        code = await self.commands.code_of(referrer)
        await self.commands.register(payer, code)
        self.commands.clock = ManualClock(NOW)
        return await self.commands.ref(referrer)


class _Servicer(referral_servicer.ReferralServicer):
    """The real one, that also notes who was asked about."""

    running: RunningReferral

    async def ResolveAttribution(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.running.asked += request.account_ids
        self.running.calls += 1
        return await super().ResolveAttribution(request, context)


@asynccontextmanager
async def referral_running(dsn: str) -> AsyncIterator[RunningReferral]:
    async with referrals.opened(dsn) as commands:
        server = _server("referral")
        servicer = _Servicer(commands.postgres, commands.clock, referrals.settings())
        running = RunningReferral(commands, server)
        servicer.running = running
        server.add(
            referral_pb2_grpc.add_ReferralServiceServicer_to_server,
            servicer,
            "creator.referral.v1.ReferralService",
            referral_servicer.CALLERS,
        )
        async with _serving(server):
            yield running


@asynccontextmanager
async def ledger_running(dsn: str, referral: RunningReferral, **changed: str) -> AsyncIterator[Ledger]:
    """One replica on a database: start two for two replicas."""
    own = settings(**changed)
    clock = ManualClock(NOW)
    server = _server("distribution")
    async with (
        await Postgres.open(dsn, schema="distribution", pool_max=5) as postgres,
        rpc.channel(f"127.0.0.1:{referral.server.port}", caller="distribution") as to_referral,
    ):
        stub = referral_pb2_grpc.ReferralServiceStub(to_referral)
        attributions = Attributions(postgres, stub, own)
        writer = GroupWriter(postgres, clock, own)
        finalizer = Finalizer(clock, attributions, writer, own)
        _serve(server, postgres, clock, finalizer, own, stub)
        async with (
            _running(attributions.run, attributions.forget_erased, writer.run) as stop,
            _serving(server),
            rpc.channel(f"127.0.0.1:{server.port}", caller="billing", wait_seconds=30) as billing,
            rpc.channel(f"127.0.0.1:{server.port}", caller="gateway", wait_seconds=30) as gateway,
        ):
            yield Ledger(
                postgres,
                clock,
                attributions,
                writer,
                finalizer,
                server,
                referral,
                distribution_pb2_grpc.DistributionServiceStub(billing),
                ledger_pb2_grpc.LedgerServiceStub(gateway),
                stop,
            )


def _serve(
    server: rpc.Server, postgres: Postgres, clock: ManualClock, finalizer: Finalizer, own: Settings, stub: Any
) -> None:
    server.add(
        distribution_pb2_grpc.add_DistributionServiceServicer_to_server,
        distribution.DistributionServicer(postgres, finalizer, own),
        "creator.distribution.v1.DistributionService",
        distribution.CALLERS,
        quiet=distribution.QUIET,
    )
    server.add(
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
        ledger.LedgerServicer(postgres, clock, stub, settlement_delay=own.settlement_delay, hold=own.earnings_hold),
        "creator.distribution.v1.LedgerService",
        ledger.CALLERS,
    )


def _server(name: str) -> rpc.Server:
    return rpc.Server(name, test_mode=True, drain_wait_seconds=0)


@asynccontextmanager
async def _serving(server: rpc.Server) -> AsyncIterator[None]:
    await server.start()
    await server.ready()
    try:
        yield
    finally:
        await server.drain(hasty=True)


@asynccontextmanager
async def _running(*parts: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[Callable[[], None]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part()) for part in parts]

        def stop() -> None:
            for task in tasks:
                task.cancel()

        yield stop
        stop()


def request(one: Charge, finalized_at: datetime | None = None) -> distribution_pb2.FinalizeRequest:
    """The message that asks for a charge."""
    plain: dict[str, Any] = {name: value for name, value in one._asdict().items() if isinstance(value, str | int)}
    asked = distribution_pb2.FinalizeRequest(
        **plain,
        model_breakdown=[
            distribution_pb2.ModelShare(model=name, amount_micro=amount) for name, amount in one.model_breakdown
        ],
        funding=[distribution_pb2.Funding(payment_id=name, amount_micro=amount) for name, amount in one.funding],
    )
    asked.finalized_at.FromDatetime(finalized_at or one.finalized_at)
    return asked


def refused(outcome: Outcome) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def later(**by: float) -> datetime:
    return NOW + timedelta(**by)
