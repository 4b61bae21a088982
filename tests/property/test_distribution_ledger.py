"""The whole ledger, lived at random on a real PostgreSQL and in plain numbers: both say the same after every step, and
every step said twice changes nothing."""

import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.refusals import Refusal
from protos.distribution.v1 import treasury_pb2
from services.distribution.commands import freezes, holds, payments, refunds, settling
from services.distribution.model import Charge, Part
from services.distribution.model.campaigns import Order
from services.distribution.model.holds import HoldState, Move, Wanted
from services.distribution.model.payments import PaymentState, Report
from services.distribution.store import earnings
from tests.support.books import assert_books
from tests.support.campaigns import Campaigns, campaigns_running
from tests.support.distribution import Ledger, charge, ledger_running, referral_running
from tests.support.ledger_model import DELAY, HOLD, Creator, Model
from tests.support.ledger_rules import Rules

CREATORS, PAYERS, PAYMENTS = 2, 4, 3
SCENARIOS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 100
_worlds = itertools.count()

amount = st.one_of(st.integers(1, 30), st.integers(1, 10**7), st.just(10**12))
step = st.one_of(
    st.tuples(st.just("finalize"), st.integers(0, PAYERS - 1), amount, st.integers(-1, PAYMENTS - 1)),
    st.tuples(st.just("finalize"), st.integers(0, 1), amount, st.just(-1)),
    st.tuples(st.just("mismatch"), st.integers(0, 9)),
    st.tuples(st.just("pay"), st.integers(0, PAYMENTS - 1)),
    st.tuples(st.just("refund"), st.integers(0, PAYMENTS - 1), st.integers(1, 4)),
    st.tuples(st.just("advance"), st.sampled_from([1, 47, 48, 200, 336])),
    st.tuples(st.just("settle")),
    st.tuples(st.just("hold"), st.integers(0, CREATORS - 1), st.integers(1, 4)),
    st.tuples(
        st.just("move"), st.integers(0, 5), st.sampled_from(["returned", "burned", "burned", "completed", "failed"])
    ),
    st.tuples(st.just("freeze"), st.integers(0, CREATORS - 1), st.booleans()),
    st.tuples(st.just("forfeit"), st.integers(0, CREATORS - 1)),
    st.tuples(st.just("thin"), st.integers(0, 1), amount, st.sampled_from([69, 70, 71, 200])),
    st.tuples(st.just("judge")),
    st.tuples(st.just("judge")),
    st.tuples(st.just("rule"), st.sampled_from([0, 1, 777, 1000, 5000]), st.sampled_from([0, 500, 3333])),
    st.tuples(st.just("kill")),
    st.tuples(st.just("spend"), st.integers(0, PAYERS - 1), st.integers(1, 5000)),
)


class World(Rules):
    """One example: creators, payers and payments of its own, beside those of the examples before."""

    def __init__(self, ledger: Ledger, campaigns: Campaigns, campaign_id: str) -> None:
        super().__init__(ledger, Model(), f"w{next(_worlds)}")
        self.campaigns, self.campaign_id = campaigns, campaign_id
        self.sent: list[Charge] = []
        self.refs: dict[str, str] = {}
        self.before: Counter[str] = Counter()

    async def begin(self) -> None:
        await self.begin_rules()
        commands = self.ledger.referral.commands
        commands.clock = self.ledger.clock
        for number in range(CREATORS):
            await commands.register(
                f"{self.name}-payer{number}", await commands.code_of(f"{self.name}-creator{number}")
            )
            who = f"{self.name}-creator{number}"
            self.refs[who] = await commands.ref(who)
            self.model.creators[who] = Creator()
        for number in range(PAYMENTS):
            await payments.record_purchase(
                self.ledger.postgres, self.ledger.clock, f"{self.name}-o{number}", self.refs[who], 10**13
            )
        self.before = Counter(await self.ledger.balances())

    def creator_of(self, payer: int) -> str:
        return f"{self.name}-creator{payer}" if payer < CREATORS else ""

    async def finalize(
        self,
        payer: int,
        revenue: int,
        payment: int,
        promotional: int = 0,
        charge_id: str = "",
        cost_percent: int = 50,
    ) -> None:
        by = {f"{self.name}-p{payment}": revenue} if payment >= 0 else {}
        one = charge(
            charge_id or f"{self.name}-c{len(self.sent)}",
            f"{self.name}-payer{payer}",
            revenue,
            promotional_micro=promotional,
            provider_cost_micro=revenue * cost_percent // 100,
            model_tier=self.name,
            funding=tuple(Part(name, micro) for name, micro in by.items()),
            finalized_at=self.ledger.clock.now(),
        )
        self.sent.append(one)
        answer = await self.ledger.finalize(one)
        self.model.finalize(
            one.inference_charge_id,
            self.creator_of(payer),
            revenue,
            promotional,
            by,
            one.finalized_at,
            one.provider_cost_micro,
        )
        again = await self.ledger.finalize(one)
        assert again.replayed
        assert again.posted == answer.posted
        for name in by:
            await self.apply_refunds(name)

    async def thin(self, payer: int, revenue: int, cost_percent: int) -> None:
        await self.finalize(payer, revenue, -1, cost_percent=cost_percent)

    async def mismatch(self, number: int) -> None:
        if self.sent:
            one = self.sent[number % len(self.sent)]
            assert await self.ledger.try_finalize(one._replace(community_id="others")) == "CHARGE_MISMATCH"

    async def pay(self, number: int) -> None:
        await self.report(number, PaymentState.CONFIRMED, 10**13, 0)

    async def refund(self, number: int, quarters: int) -> None:
        name = f"{self.name}-p{number}"
        spent = sum(each.by.get(name, 0) for each in self.model.charges.values())
        refunded = 10**13 - spent + spent * quarters // 4
        state = PaymentState.REFUNDED if refunded == 10**13 else PaymentState.PARTIALLY_REFUNDED
        await self.report(number, state, 10**13, refunded)

    async def report(self, number: int, state: PaymentState, paid: int, refunded: int) -> None:
        name, now = f"{self.name}-p{number}", self.ledger.clock.now()
        known = self.model.payments.get(name, (0, 0, None))
        stale = known[1] > refunded or (
            known[1] == known[0] > 0 and known[1] == refunded and state != PaymentState.REFUNDED
        )
        report = Report(name, f"{self.name}-o{number}", state, paid, refunded, now, 1)
        for _ in range(2):
            await payments.record_payment(self.ledger.postgres, self.ledger.clock, report)
        if not stale:
            self.model.report(name, paid, refunded, now)
        await self.apply_refunds(name)

    async def apply_refunds(self, name: str) -> None:
        for _ in range(2):
            await refunds.apply_refunds(self.ledger.postgres, self.ledger.clock, name)
        self.model.apply_refunds(name)

    async def advance(self, hours: int) -> None:
        self.ledger.clock.advance(timedelta(hours=hours))

    async def settle(self) -> None:
        for _ in range(2):
            await settling.settle(self.ledger.postgres, self.ledger.clock.now(), delay=DELAY, hold=HOLD)
        self.model.settle(self.ledger.clock.now())

    async def hold(self, number: int, quarters: int) -> None:
        who, now = f"{self.name}-creator{number}", self.ledger.clock.now()
        wanted = max(1, self.model.withdrawable(who, now) * quarters // 3)
        payout = str(len(self.model.holds) + 1).rjust(32, "0")
        payout_id = f"{payout[:8]}-{payout[8:12]}-4{payout[13:16]}-8{payout[17:20]}-{next(_worlds):012x}"
        accepted = self.model.hold(payout_id, who, wanted, now)
        for _ in range(2):
            done = await self.said(
                lambda: holds.hold_payout(
                    self.ledger.postgres,
                    self.ledger.clock,
                    Wanted(payout_id, 1, self.refs[who], wanted),
                    enabled=True,
                )
            )
            assert done is accepted

    async def move(self, number: int, to: str) -> None:
        if not self.model.holds:
            return
        payout_id = list(self.model.holds)[number % len(self.model.holds)]
        _, micro, state = self.model.holds[payout_id]
        fee = micro // 7
        moved = self.model.move(payout_id, to, fee)
        move = Move(HoldState[to.upper()], micro - fee, fee) if to == "completed" else Move(HoldState[to.upper()])
        for _ in range(2):
            done = await self.said(lambda: holds.move_hold(self.ledger.postgres, self.ledger.clock, payout_id, 1, move))
            assert done is (moved or state == to)

    async def freeze(self, number: int, frozen: bool) -> None:  # noqa: FBT001 - as it is drawn
        who = f"{self.name}-creator{number}"
        creator = self.model.creators[who]
        creator.revision += 1
        creator.frozen = frozen
        for _ in range(2):
            await freezes.set_frozen(
                self.ledger.postgres,
                self.ledger.clock,
                self.refs[who],
                frozen=frozen,
                standing_revision=creator.revision,
            )

    async def forfeit(self, number: int) -> None:
        who = f"{self.name}-creator{number}"
        request = treasury_pb2.ForfeitEarningsRequest(
            request_id=f"{self.name}-{next(_worlds)}", account_ref=self.refs[who], reason="FRAUD", operator_id="olga"
        )
        for _ in range(2):
            await freezes.forfeit(self.ledger.postgres, self.ledger.clock, request, Order("olga", "FRAUD"))
        self.model.forfeit(who)

    async def spend(self, payer: int, micro: int) -> None:
        """Promotional credits are granted, spent on a charge, and the rest of it is paid and split."""
        await self.campaigns.give(self.campaign_id, f"{self.name}-payer{payer}", micro)
        charge_id = f"{self.name}-s{len(self.sent)}"
        spent = {
            (await self.campaigns.spend(charge_id, f"{self.name}-payer{payer}", micro)).spent_micro for _ in range(2)
        }
        assert len(spent) == 1
        await self.finalize(payer, micro + 100, -1, promotional=spent.pop(), charge_id=charge_id)

    async def said(self, command: Callable[[], Awaitable[object]]) -> bool:
        try:
            await command()
        except Refusal:
            return False
        return True

    async def check(self) -> None:
        now = self.ledger.clock.now()
        async with self.ledger.postgres.transaction(readonly=True) as connection:
            for who, account_ref in self.refs.items():
                found = await earnings.read(connection, account_ref, now, settlement_delay=DELAY, hold=HOLD)
                told = {bucket: getattr(found, f"{bucket}_micro") for bucket in self.model.buckets(who, now)}
                assert told == self.model.buckets(who, now)
                accrued = sum(each.parts[0] for each in self.model.charges.values() if each.creator == who)
                assert found.accrued_micro == accrued
        balances = Counter(await self.ledger.balances())
        balances.subtract(self.before)
        for name, micro in self.model.books.items():
            assert balances[name] == micro, name


@pytest.fixture(scope="module")
async def running(databases: Any) -> AsyncIterator[tuple[Ledger, Campaigns, str]]:
    names = [await databases.create("distribution"), await databases.create("referral")]
    dsn, referral_dsn = map(databases.dsn_of, names)
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield ledger, campaigns, await campaigns.active(10**12)
    for name in names:
        await databases.drop(name)


@settings(max_examples=SCENARIOS, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(step, min_size=3, max_size=14))
async def test_the_ledger_says_what_plain_numbers_say_after_every_step(
    running: tuple[Ledger, Campaigns, str], steps: list[tuple[Any, ...]]
) -> None:
    world = World(*running)
    await world.begin()
    for name, *arguments in steps:
        await getattr(world, name)(*arguments)
        await world.check()
    async with world.ledger.postgres.connection() as connection:
        await assert_books(connection)
