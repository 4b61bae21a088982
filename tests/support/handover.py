"""Payouts on their way: the real engine and the real ledger, with the provider's simulator behind a real port."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from libs.clock import ManualClock
from libs.ids import new_id
from libs.postgres import Postgres
from services.distribution.model.holds import HoldState
from services.payout.commands import attempts
from services.payout.commands.handover import Handover
from services.payout.model import Event, Money, Stage
from services.payout.model.destinations import Destination, DestinationState
from services.payout.model.payouts import Payout, begun
from services.payout.model.submissions import Attempt
from services.payout.provider.client import Client
from services.payout.store import destinations, openings, payouts, submissions
from services.payout.store.payouts import With
from tests.support import treasury
from tests.support.provider import TRON, Running, client_of, provider_running
from tests.support.treasury import Treasury

FEE_MICRO = 1_500_000
MINUTE = timedelta(minutes=1)
STEP = timedelta(seconds=30)


@dataclass
class Road:
    """A payout's whole way, with a clock to move."""

    postgres: Postgres
    books: Treasury
    running: Running
    client: Client
    clock: ManualClock
    engine: Handover
    fee_paid_by: str = "sender"

    async def creators(self, count: int, earned_micro: int) -> list[str]:
        """Creators with that much to withdraw."""
        refs = [str(uuid.uuid4()) for _ in range(count)]
        for each in refs:
            await self.books.earn(each, earned_micro)
        self.clock.advance(treasury.HOLD)
        await self.books.settle()
        return refs

    async def creator(self, earned_micro: int = 100_000_000) -> str:
        (ref,) = await self.creators(1, earned_micro)
        return ref

    async def burned(self, creator_ref: str, amount_micro: int = 50_000_000, address: str = TRON) -> Payout:
        """A payout whose turn has come: held, queued, burned."""
        payout = await self.queued(creator_ref, amount_micro, address)
        return await self.burn(payout)

    async def queued(self, creator_ref: str, amount_micro: int, address: str = TRON) -> Payout:
        now, account_ref, destination_id = self.clock.now(), uuid.UUID(creator_ref), new_id()
        address_ref = uuid.UUID(bytes=hashlib.sha256(address.encode()).digest()[:16])
        place = Destination(
            destination_id, account_ref, "usdttrc20", address, "", address_ref, DestinationState.NEW, now, None, None
        )
        payout = begun(
            new_id(), place, amount_micro, fee_micro=FEE_MICRO,
            net_amount=Decimal(amount_micro - FEE_MICRO) / 1_000_000, quoted_until=now,
            needs_confirmation=False, approvals_needed=0, approval_reasons=(),
            cumulative_micro=amount_micro, due_at=now, request_id=str(new_id()), now=now,
        )  # fmt: skip
        async with self.postgres.transaction() as connection:
            assert await openings.insert(connection, payout, b"x", destination=place)
            await destinations.set_state(
                connection, place, DestinationState.CONFIRMED, confirmed_at=now, usable_from=now
            )
        await self.books.hold(creator_ref, amount_micro, str(payout.payout_id))
        async with self.postgres.transaction() as connection:
            also = With(money=Money.HELD, held=True)
            return await payouts.move(connection, payout, Event.READY, now, actor="test", also=also)

    async def burn(self, payout: Payout) -> Payout:
        now = self.clock.now()
        async with self.postgres.transaction() as connection:
            moved = await payouts.move(connection, payout, Event.SUBMIT, now, actor="test")
        hold = (await self.books.hold(str(moved.account_ref), moved.amount_micro, str(moved.payout_id))).hold
        await self.books.burn(hold)
        async with self.postgres.transaction() as connection:
            await payouts.note_money(connection, moved, Money.BURNED)
            return await payouts.get(connection, moved.payout_id)

    async def settle(self) -> None:
        """Tells the ledger how final payouts ended."""
        async with self.postgres.connection() as connection:
            due = await payouts.unsettled(connection, 1000)
        for payout in due:
            await self.settle_one(payout)

    async def settle_one(self, payout: Payout) -> None:
        hold = (await self.books.hold(str(payout.account_ref), payout.amount_micro, str(payout.payout_id))).hold
        if payout.stage is Stage.COMPLETED:
            await self.books.move(hold, HoldState.COMPLETED, payout.net_micro, payout.fee_micro)
        else:
            await self.books.move(hold, HoldState.FAILED)
        async with self.postgres.transaction() as connection:
            await payouts.note_money(connection, payout, Money.CLOSED)

    async def run(self, times: int = 1, every: timedelta = STEP) -> None:
        """Lets the engine have its turn so many times, `every` apart."""
        for _ in range(times):
            await self.engine.run()
            self.clock.advance(every)

    async def run_until(self, done: Callable[[], Awaitable[bool]], every: timedelta = MINUTE, turns: int = 400) -> None:
        for _ in range(turns):
            if await done():
                return
            await self.run(1, every)
        raise AssertionError("it never came to an end")

    async def end(self, payout: Payout) -> Payout:
        """The payout when it is final."""

        async def over() -> bool:
            return (await self.payout(payout)).stage >= Stage.COMPLETED

        await self.run_until(over)
        await self.settle()
        return await self.payout(payout)

    async def payout(self, payout: Payout) -> Payout:
        async with self.postgres.connection() as connection:
            return await payouts.get(connection, payout.payout_id)

    async def attempts(self, payout: Payout) -> list[Attempt]:
        async with self.postgres.connection() as connection:
            return await submissions.of_payout(connection, payout.payout_id)

    async def stages(self, payout: Payout) -> list[str]:
        async with self.postgres.connection() as connection:
            return [change.stage.name for change in await payouts.history(connection, payout.payout_id)]

    async def value(self, query: str, *args: object) -> Any:
        async with self.postgres.connection() as connection:
            return await connection.fetchval(query, *args)

    @property
    def sent_micro(self) -> int:
        """What truly left the provider for creators, in micro-USD of a stable coin."""
        return int(self.running.sent * 1_000_000)

    async def check(self) -> None:
        """Nothing was sent twice; what left is burned and not given back; the books are whole."""
        rows = self.running.rows
        payout_of = {row.unique_external_id: row.unique_external_id.rpartition("-")[0] for row in rows}
        sent = [payout_of[row.unique_external_id] for row in rows if row.sent]
        assert len(sent) == len(set(sent)), "one payout was sent twice"
        live = [payout_of[row.unique_external_id] for row in rows if row.requested_at and row.status not in _DEAD]
        assert len(live) == len(set(live)), "two batches of one payout were verified"
        await self.books.check()

    async def check_settled(self) -> None:
        """Everything is final: each creator is debited what the provider says it sent, and the fee of it."""
        await self.check()
        paid = await self.books.value("SELECT coalesce(sum(sent_micro), 0)::bigint FROM payout_holds WHERE state = 4")
        assert paid == self.sent_micro
        burned = await self.books.value("SELECT count(*) FROM payout_holds WHERE state = 3")
        assert burned == 0


_DEAD = frozenset({"REJECTED", "CANCELLED"})


@asynccontextmanager
async def road(
    payout_dsn: str, distribution_dsn: str, *, fee_paid_by: str = "sender", seed: int = 0, enabled: bool = True
) -> AsyncIterator[Road]:
    async with (
        treasury.opened(distribution_dsn) as books,
        await Postgres.open(payout_dsn, schema="payout", pool_max=5) as postgres,
        provider_running(books.clock, seed=seed) as running,
        client_of(running, books.clock) as client,
    ):
        running.provider.merchant.fee_paid_by = fee_paid_by
        engine = Handover(postgres, books.clock, client, fee_paid_by=fee_paid_by, enabled=enabled)
        yield Road(postgres, books, running, client, books.clock, engine, fee_paid_by)


__all__ = ["Road", "attempts", "road"]
