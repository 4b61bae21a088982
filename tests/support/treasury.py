"""The treasury in this process: the real commands on a database of one's own, and creators that earned something."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from libs import rpc
from libs.clock import ManualClock
from libs.ids import new_id
from libs.money import Split
from libs.postgres import Postgres, retried
from libs.refusals import Refusal
from protos.distribution.v1 import events_pb2, ledger_pb2_grpc, treasury_pb2, treasury_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from services.distribution.commands import freezes, holds, settling
from services.distribution.model import Attribution, Charge, Decision, Posted, ReferrerOutcome, Row, creator_account
from services.distribution.model.campaigns import Order
from services.distribution.model.earnings import Earnings
from services.distribution.model.holds import Answered, Hold, HoldState, Move, Wanted
from services.distribution.servicer import ledger, treasury
from services.distribution.store import accounts, earnings, journal
from services.distribution.writer import posting
from tests.support.books import assert_books
from tests.support.distribution import NOW

DELAY = timedelta(hours=48)
HOLD = timedelta(days=14)


@dataclass
class Treasury:
    """The books, a clock to move, and a way to ask."""

    postgres: Postgres
    clock: ManualClock
    enabled: bool = True
    _revisions: int = field(default=0)

    async def earn(self, creator_ref: str | None, share_micro: int, *, community: str = "artists") -> str:
        """Posts one charge now, as the group writer does; answers its distribution's id."""
        now = self.clock.now()
        charge_id, payer = f"charge-{uuid.uuid4()}", str(uuid.uuid4())
        rest = 9 * share_micro
        split = Split(share_micro if creator_ref else 0, rest // 20, rest * 7 // 10, rest - rest // 20 - rest * 7 // 10)
        outcome = ReferrerOutcome.ATTRIBUTED if creator_ref else ReferrerOutcome.ORGANIC
        revenue_micro = rest + (share_micro if creator_ref else 0)
        row = Row(
            Posted(charge_id, str(new_id()), b"fingerprint", Decision(1, outcome, split)),
            Charge(charge_id, "payer", community, revenue_micro, 0, 0, "gpt-4o", "standard", (), (), now),
            Attribution(payer, creator_ref, now, now),
        )
        await self.post([row], now)
        return row.posted.distribution_id

    @retried  # as the writer does, whose accounts may meet a transfer's crosswise
    async def post(self, rows: list[Row], recorded_at: datetime) -> None:
        amounts = posting.Amounts(rows)
        async with self.postgres.transaction() as connection:
            ids = await accounts.open_accounts(connection, amounts.kinds)
            micro = {ids[name]: amount_micro for name, amount_micro in amounts.micro.items()}
            revision = await connection.fetchval("SELECT revision FROM rules_revision")
            assert await journal.post_group(
                connection, rows, micro, posting.events(rows), revision=revision, recorded_at=recorded_at
            )

    async def settle(self) -> int:
        return await settling.settle(self.postgres, self.clock.now(), delay=DELAY, hold=HOLD)

    async def creator(self, withdrawable_micro: int) -> str:
        """A new creator with that much to withdraw."""
        creator_ref = str(uuid.uuid4())
        await self.earn(creator_ref, withdrawable_micro)
        self.clock.advance(HOLD)
        await self.settle()
        return creator_ref

    async def hold(self, creator_ref: str, amount_micro: int, payout_id: str = "", number: int = 1) -> Answered:
        wanted = Wanted(payout_id or str(uuid.uuid4()), number, creator_ref, amount_micro)
        return await holds.hold_payout(self.postgres, self.clock, wanted, enabled=self.enabled)

    async def move(self, hold: Hold, to: HoldState, sent_micro: int = 0, fee_micro: int = 0) -> Answered:
        move = Move(to, sent_micro, fee_micro, "REASON" if to in {HoldState.RETURNED, HoldState.FAILED} else "")
        return await holds.move_hold(self.postgres, self.clock, hold.payout_id, hold.round, move, enabled=self.enabled)

    async def burn(self, hold: Hold) -> Answered:
        return await self.move(hold, HoldState.BURNED)

    async def freeze(self, creator_ref: str, *, frozen: bool = True) -> None:
        self._revisions += 1
        await freezes.set_frozen(
            self.postgres, self.clock, creator_ref, frozen=frozen, standing_revision=self._revisions
        )

    async def forfeit(self, creator_ref: str) -> treasury_pb2.ForfeitEarningsResponse:
        request = treasury_pb2.ForfeitEarningsRequest(
            request_id=str(uuid.uuid4()), account_ref=creator_ref, reason="FRAUD_CONFIRMED", operator_id="ann"
        )
        order = Order(request.operator_id, request.reason)
        return await freezes.forfeit(self.postgres, self.clock, request, order)

    async def earnings(self, creator_ref: str) -> Earnings:
        async with self.postgres.transaction(readonly=True) as connection:
            return await earnings.read(connection, creator_ref, self.clock.now(), settlement_delay=DELAY, hold=HOLD)

    async def balance(self, name: str) -> int:
        return int(await self.value("SELECT balance_micro FROM accounts WHERE name = $1", name) or 0)

    async def part(self, creator_ref: str, part: str) -> int:
        return await self.balance(creator_account(creator_ref, part))

    async def value(self, query: str, *args: object) -> Any:
        async with self.postgres.connection() as connection:
            return await connection.fetchval(query, *args)

    async def execute(self, statement: str, *args: object) -> None:
        async with self.postgres.transaction() as connection:
            await connection.execute(statement, *args)

    async def changes(self, creator_ref: str) -> list[tuple[str, int]]:
        """What was told of a creator's earnings, in order."""
        async with self.postgres.connection() as connection:
            rows = await connection.fetch(
                "SELECT payload FROM outbox WHERE topic = 'distribution.earnings.v1' ORDER BY id"
            )
        told = [events_pb2.EarningsChanged.FromString(row["payload"]) for row in rows]
        return [
            (events_pb2.EarningsChange.Name(each.change).removeprefix("EARNINGS_CHANGE_"), each.amount_micro)
            for each in told
            if each.creator_ref == creator_ref
        ]

    async def check(self) -> None:
        async with self.postgres.transaction(readonly=True) as connection:
            await assert_books(connection)


@asynccontextmanager
async def opened(dsn: str, *, pool_max: int = 10) -> AsyncIterator[Treasury]:
    async with await Postgres.open(dsn, schema="distribution", pool_max=pool_max) as postgres:
        yield Treasury(postgres, ManualClock(NOW))


@dataclass
class Doors:
    """Stubs on a real port."""

    treasury: treasury_pb2_grpc.TreasuryServiceStub
    ledger: ledger_pb2_grpc.LedgerServiceStub


@asynccontextmanager
async def listening(books: Treasury) -> AsyncIterator[int]:
    """Both services on a port over loopback; nobody in these tests asks for a balance by outside id."""
    server = rpc.Server("distribution", test_mode=True, drain_wait_seconds=0)
    async with rpc.channel("127.0.0.1:1", caller="distribution") as nowhere:
        server.add(
            treasury_pb2_grpc.add_TreasuryServiceServicer_to_server,
            treasury.TreasuryServicer(books.postgres, books.clock, payouts_enabled=books.enabled),
            "creator.distribution.v1.TreasuryService",
            treasury.CALLERS,
        )
        server.add(
            ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
            ledger.LedgerServicer(
                books.postgres,
                books.clock,
                referral_pb2_grpc.ReferralServiceStub(nowhere),
                settlement_delay=DELAY,
                hold=HOLD,
            ),
            "creator.distribution.v1.LedgerService",
            ledger.CALLERS,
        )
        await server.start()
        await server.ready()
        try:
            yield server.port
        finally:
            await server.drain(hasty=True)


@asynccontextmanager
async def served(books: Treasury) -> AsyncIterator[Doors]:
    """Both services as stubs."""
    async with (
        listening(books) as port,
        rpc.channel(f"127.0.0.1:{port}", caller="anonymous", wait_seconds=30) as channel,
    ):
        yield Doors(treasury_pb2_grpc.TreasuryServiceStub(channel), ledger_pb2_grpc.LedgerServiceStub(channel))


async def outcome(command: Awaitable[Any]) -> str:
    """What came of it in a word: "DONE", "REPLAYED", or the reason of the refusal."""
    try:
        answer = await command
    except Refusal as refusal:
        return refusal.reason
    return "REPLAYED" if getattr(answer, "replayed", False) else "DONE"


async def together(*commands: Awaitable[Any]) -> list[str]:
    """All at once; what came of each."""
    return list(await asyncio.gather(*(outcome(command) for command in commands)))
