"""Everything that moves money, all at once: two replicas with a writer each, 32 connections, every step said to both.

What was answered is written down, and the sums at the end are worked out from that in plain numbers. Steps are
drawn so that the sums do not depend on who came first: refunds touch shares that cannot settle meanwhile, but
those of the creator who forfeits.
"""

import asyncio
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest

from libs.postgres import Postgres
from libs.refusals import Refusal
from protos.distribution.v1 import treasury_pb2 as pb
from services.distribution.commands import audit, freezes, holds, payments, refunds, settling, treasury
from services.distribution.model import Part
from services.distribution.model.campaigns import Order
from services.distribution.model.holds import HoldState, Move, Wanted
from services.distribution.model.payments import PaymentState, Report
from tests.conftest import Database
from tests.support.books import assert_books
from tests.support.campaigns import Campaigns, campaigns_running, grant
from tests.support.distribution import Ledger, charge, later, ledger_running, referral_running
from tests.support.ledger_model import DELAY, HOLD, Creator, Model

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
SEEDS, SIZE = (range(20), 120) if NIGHTLY else (range(2), 12)
CONNECTIONS = 32
CREATORS, PAYMENTS = 4, 4
FORFEITS = "creator-3"
WAYS: Final = (("returned",), ("burned",), ("burned", "completed"), ("burned", "failed"), ())
PAID = 10**13
WEEKS = timedelta(days=15)

Step = Callable[[], Awaitable[None]]


class Replica(NamedTuple):
    """One replica: its charges and credits, and its commands on connections of their own."""

    ledger: Ledger
    campaigns: Campaigns
    postgres: Postgres


class Economy:
    """Creators, payers and payments of one seed; what was answered, by what was asked."""

    def __init__(self, replicas: list[Replica], campaign_id: str, rng: random.Random) -> None:
        self.replicas, self.campaign_id, self.rng = replicas, campaign_id, rng
        self.model = Model()
        self.model.creators = {f"creator-{number}": Creator() for number in range(CREATORS)}
        self.refs: dict[str, str] = {}
        self.moved: Counter[tuple[str, str]] = Counter()
        """Micro-USD by creator and what its payouts did: held, returned, burned, completed, failed."""
        self.sums: Counter[str] = Counter()
        self.refunds: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    @property
    def clock(self) -> Any:
        return self.replicas[0].ledger.clock

    def advance(self, by: timedelta) -> None:
        for replica in self.replicas:
            replica.ledger.clock.advance(by)

    async def both(self, command: Callable[[Replica], Awaitable[Any]]) -> Any:
        """Says the same to both at once, and answers what it came to: the first answer, or nothing where refused."""
        said = await asyncio.gather(*(command(each) for each in self.replicas), return_exceptions=True)
        for each in said:
            if isinstance(each, BaseException) and not isinstance(each, Refusal):
                raise each
        done = [each for each in said if not isinstance(each, BaseException)]
        self.refused.update(each.reason for each in said if isinstance(each, Refusal))
        return done

    async def begin(self) -> None:
        referral = self.replicas[0].ledger.referral
        for number in range(CREATORS):
            for payer in (number, number + CREATORS):
                self.refs[f"creator-{number}"] = await referral.refer(
                    f"payer-{payer}", later(days=-3), f"creator-{number}"
                )
        for number in range(PAYMENTS):
            await payments.record_purchase(
                self.replicas[0].postgres, self.clock, f"o{number}", self.refs["creator-0"], PAID
            )
        for name in ("old", "due"):
            await asyncio.gather(*(self.charge(f"{name}-{number}", number % 10) for number in range(4 * CREATORS)))
            self.advance(WEEKS)
            if name == "old":
                await self.settle()

    async def charge(self, charge_id: str, payer: int, payment: str = "", promotional: int = 0) -> None:
        revenue = promotional + self.rng.choice([1, 7, 99, 33_333, 7_777_777, self.rng.randrange(1, 10**9)])
        one = charge(
            charge_id,
            f"payer-{payer}",
            revenue,
            promotional_micro=promotional,
            funding=(Part(payment, revenue - promotional),) if payment else (),
            finalized_at=self.clock.now(),
        )
        first, second = await self.both(lambda each: each.ledger.finalize(one))
        assert first.posted == second.posted
        assert {first.replayed, second.replayed} == {False, True}
        creator = f"creator-{payer % CREATORS}" if payer < 2 * CREATORS else ""
        by = {payment: revenue - promotional} if payment else {}
        self.model.finalize(charge_id, creator, revenue, promotional, by, self.clock.now())

    async def report(self, number: int, refunded: int) -> None:
        state = PaymentState.CONFIRMED
        if refunded:
            state = PaymentState.REFUNDED if refunded == PAID else PaymentState.PARTIALLY_REFUNDED
        told = Report(f"p{number}", f"o{number}", state, PAID, refunded, self.clock.now(), 1)
        self.refunds[told.payment_id] = max(self.refunds[told.payment_id], refunded)

        async def tell(each: Replica) -> None:
            await payments.record_payment(each.postgres, self.clock, told)
            await refunds.apply_refunds(each.postgres, self.clock, told.payment_id)

        await self.both(tell)

    async def settle(self) -> None:
        await self.both(lambda each: settling.settle(each.postgres, self.clock.now(), delay=DELAY, hold=HOLD))

    async def pay_out(self, who: str, micro: int, ways: tuple[str, ...]) -> None:
        """Hold a payout and move it on as far as it goes."""
        payout_id = str(uuid.UUID(int=self.rng.getrandbits(128)))
        fee = micro // 7
        wanted = Wanted(payout_id, 1, self.refs[who], micro)
        if not await self.both(lambda each: holds.hold_payout(each.postgres, self.clock, wanted, enabled=True)):
            return
        self.moved[who, "held"] += micro
        for way in ways:
            sent = (micro - fee, fee) if way == "completed" else ()
            move = Move(HoldState[way.upper()], *sent)
            if not await self.move(payout_id, move):
                return
            self.moved[who, way] += micro
            self.sums["provider:fees"] += fee * (way == "completed")

    async def move(self, payout_id: str, move: Move) -> Any:
        return await self.both(lambda each: holds.move_hold(each.postgres, self.clock, payout_id, 1, move))

    async def freeze(self, who: str, revision: int) -> None:
        await self.both(
            lambda each: freezes.set_frozen(
                each.postgres, self.clock, self.refs[who], frozen=bool(revision % 2), standing_revision=revision
            )
        )

    async def forfeit(self, number: int) -> None:
        request = pb.ForfeitEarningsRequest(
            request_id=f"f{number}", account_ref=self.refs[FORFEITS], reason="FRAUD", operator_id="olga"
        )
        order = Order("olga", "FRAUD")
        first, second = await self.both(lambda each: freezes.forfeit(each.postgres, self.clock, request, order))
        assert first == second

    async def change_reserve(self, number: int, direction: int, micro: int) -> None:
        asked = pb.RequestReserveChangeRequest(
            request_id=f"r{number}", direction=pb.ReserveDirection.ValueType(direction), amount_micro=micro
        )
        requested, again = await self.both(
            lambda each: treasury.request_reserve_change(each.postgres, self.clock, asked, Order("ann", "cash"))
        )
        assert requested == again
        change_id = requested.reserve_change.reserve_change_id
        approval = pb.ApproveReserveChangeRequest(request_id=f"a{number}", reserve_change_id=change_id)
        if await self.both(
            lambda each: treasury.approve_reserve_change(each.postgres, self.clock, approval, Order("bob", "cash"))
        ):
            self.sums["reserve changes"] += micro if direction == pb.RESERVE_DIRECTION_TOP_UP else -micro

    async def spend(self, charge_id: str, payer: int, micro: int) -> None:
        """Credits are granted, spent on a charge, and the rest of it is split."""
        account_ref = await self.replicas[0].ledger.referral.commands.ref(f"payer-{payer}")
        lot, request_id = grant(account_ref, micro), f"g-{charge_id}"
        await self.both(lambda each: each.campaigns.grant(self.campaign_id, lot, request_id=request_id))
        first, second = await self.both(lambda each: each.campaigns.spend(charge_id, f"payer-{payer}", 2 * micro))
        assert first.spent_micro == second.spent_micro
        self.sums["granted"] += micro
        self.sums["platform:promotional_spend"] += first.spent_micro
        await self.charge(charge_id, payer, promotional=first.spent_micro)

    async def reserve(self, name: str, micro: int, *, release: bool) -> None:
        account_ref = self.refs["creator-0"]
        await self.both(lambda each: each.campaigns.reserve(name, account_ref, micro, campaign_id=self.campaign_id))
        if release:
            await self.both(lambda each: each.campaigns.release(name))
        else:
            self.sums["reserved"] += micro

    def steps(self) -> list[Step]:
        rng, made = self.rng, list[Step]()

        def add(act: Callable[..., Awaitable[None]], *arguments: Any, **named: Any) -> None:
            made.append(lambda: act(*arguments, **named))

        for number in range(SIZE):
            who = f"creator-{rng.randrange(CREATORS)}"
            add(self.charge, f"plain-{number}", rng.randrange(10))
            add(self.charge, f"funded-{number}", rng.randrange(10), f"p{rng.randrange(PAYMENTS)}")
            add(self.spend, f"spent-{number}", rng.randrange(10), rng.randrange(1, 5000))
            add(self.pay_out, who, rng.choice([1, 10_000, 10**6, 10**8]), rng.choice(WAYS))
            add(self.pay_out, FORFEITS, rng.choice([1, 10_000, 10**6]), rng.choice(WAYS[:4]))
            add(self.report, rng.randrange(PAYMENTS), rng.choice([0, 0, PAID - 10**9, PAID - 10**7, PAID]))
            add(self.settle)
            add(self.freeze, "creator-2", number + 1)
            add(self.change_reserve, number, rng.choice([1, 2]), rng.choice([1, 10**6, 10**9]))
            add(self.reserve, f"b-{number}", rng.randrange(1, 5000), release=rng.random() < 0.5)
        add(self.forfeit, 1)
        add(self.forfeit, 2)
        for number in range(PAYMENTS):
            add(self.report, number, 0)
        rng.shuffle(made)
        return made

    async def live(self) -> None:
        """As many at once as there are connections; then all that was left to time happens."""
        waiting = self.steps()

        async def work() -> None:
            while waiting:
                await waiting.pop()()

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(work())
        for number in range(PAYMENTS):
            await self.report(number, 0)
        self.advance(timedelta(days=20))
        await self.settle()
        # Whoever won the races, each way was gone.
        for ways in WAYS:
            await self.pay_out("creator-1", 7, ways)

    def expected(self, found: dict[str, int]) -> Counter[str]:
        """What every account must hold: from the answers, and for the one who forfeited from what was lost of it."""
        model = self.model
        for payment_id, refunded in sorted(self.refunds.items()):
            model.report(payment_id, PAID, refunded, self.clock.now())
            model.apply_refunds(payment_id)
        loss, forfeited = -found.get("platform:clawback_loss", 0), found.get("platform:forfeited", 0)
        assert 0 <= loss <= model.creators[FORFEITS].reversed
        books = Counter({name: found.get(name, 0) for name in ("platform:clawback_loss", "platform:forfeited")})
        for who, creator in model.creators.items():
            accrued = sum(each.parts[0] for each in model.charges.values() if each.creator == who)
            lost = creator.reversed + (forfeited - loss if who == FORFEITS else 0)
            did = {way: self.moved[who, way] for way in ("held", "returned", "burned", "completed", "failed")}
            held = did["held"] - did["returned"] - did["burned"]
            name = f"creator:{self.refs[who]}"
            books[f"{name}:held"] = held
            books[f"{name}:settled"] = accrued - lost - held - (did["burned"] - did["failed"])
            books["platform:paid_out"] += did["burned"] - did["failed"]
            books["provider:in_flight"] += did["burned"] - did["failed"] - did["completed"]
            books["provider:sent"] += did["completed"]
        fees, changed = self.sums["provider:fees"], self.sums["reserve changes"]
        books["provider:sent"] -= fees
        books["provider:fees"] = fees
        books.update({name: micro for name, micro in model.books.items() if name != "platform:clawback_loss"})
        books["treasury:payout_reserve"] += loss - forfeited + changed - books["platform:paid_out"]
        books["treasury:operating"] += forfeited - loss - changed
        spent, reserved = self.sums["platform:promotional_spend"], self.sums["reserved"]
        books["platform:promotional_spend"] = spent
        books[f"campaign:{self.campaign_id}:reserved"] = reserved
        books[f"campaign:{self.campaign_id}:available"] = 10**12 - reserved - self.sums["granted"]
        books["platform:marketing"] = -(10**12)
        return books


@asynccontextmanager
async def two_replicas(database: Database) -> AsyncIterator[list[Replica]]:
    dsn = await database("distribution")
    async with AsyncExitStack() as stack:
        referral = await stack.enter_async_context(referral_running(await database("referral")))
        replicas = []
        for _ in range(2):
            ledger = await stack.enter_async_context(ledger_running(dsn, referral))
            campaigns = await stack.enter_async_context(campaigns_running(ledger))
            opened = await Postgres.open(dsn, schema="distribution", pool_max=CONNECTIONS // 2)
            replicas.append(Replica(ledger, campaigns, await stack.enter_async_context(opened)))
        yield replicas


@pytest.mark.parametrize("seed", SEEDS)
async def test_everything_at_once_ends_in_the_sums_that_the_answers_add_up_to(database: Database, seed: int) -> None:
    async with two_replicas(database) as replicas:
        economy = Economy(replicas, await replicas[0].campaigns.active(10**12), random.Random(seed))
        await economy.begin()
        await economy.live()
        found = await replicas[0].ledger.balances()
        unspent = sum(micro for name, micro in found.items() if name.startswith("credits:"))
        assert unspent == economy.sums["granted"] - economy.sums["platform:promotional_spend"]
        expected = economy.expected(found)
        told = {name: micro for name, micro in found.items() if not name.startswith("credits:")}
        assert told == {name: micro for name, micro in expected.items() if micro}
        # Something of each was done, and something was refused: nobody raced against nothing.
        assert {way for _, way in economy.moved} == {"held", "returned", "burned", "completed", "failed"}
        assert economy.refused["INSUFFICIENT_WITHDRAWABLE"]
        async with replicas[0].postgres.connection() as connection:
            await assert_books(connection)
        own = await replicas[0].postgres.dedicated()
        try:
            _, results = await audit.examine(own)
            assert [each.first[0] for each in results if each.violations] == []
        finally:
            await own.close()
