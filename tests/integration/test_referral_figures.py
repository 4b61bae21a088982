"""Figures of the launch: what a referral costs, how many convert, what is left."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.inbox import Received
from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.distribution.v1.events_pb2 import ChargeFinalized, ChargesFinalized
from protos.referral.v1.admin_pb2 import GetLaunchFiguresRequest, GetLaunchFiguresResponse
from services.referral import consumers
from services.referral.model.figures import Counted
from services.referral.rules import figures as rules
from services.referral.servicer.figures import Figures
from tests.conftest import Database
from tests.support.referral import START, Referral, opened


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def ask(referral: Referral, start: datetime, end: datetime) -> GetLaunchFiguresResponse:
    door = Figures()
    door._postgres = referral.postgres
    context: Any = None
    request = GetLaunchFiguresRequest(from_time=to_timestamp(start), to_time=to_timestamp(end))
    return await door.GetLaunchFigures(request, context)


async def charged(referral: Referral, *charges: tuple[str, datetime, int, int, int], referrer: str = "alice") -> None:
    """(payer, when, revenue, cost, referrer's share) of charges, as distribution tells of them."""
    told = ChargesFinalized(
        charges=[
            ChargeFinalized(
                payer_ref=await referral.ref(payer),
                referrer_ref=await referral.ref(referrer) if referrer else "",
                revenue_micro=revenue_micro,
                provider_cost_micro=cost_micro,
                referrer_micro=share_micro,
                finalized_at=to_timestamp(at),
            )
            for payer, at, revenue_micro, cost_micro, share_micro in charges
        ]
    )
    async with referral.postgres.transaction() as connection:
        await consumers.charges(connection, [Received(1, uuid.uuid4(), START, "0", told)])


async def test_the_figures_of_a_period_are_those_of_its_referrals_and_its_revenue(referral: Referral) -> None:
    code = await referral.code_of("alice")
    for name in ("bob", "carol", "dave"):
        await referral.register(name, code)
    minute = timedelta(minutes=1)
    await charged(
        referral,
        ("bob", START, 100_000, 50_000, 10_000),
        ("bob", START + 59 * minute, 100_001, 50_000, 10_000),
        ("carol", START + 60 * minute, 7, 7, 0),
    )
    await charged(referral, ("organic", START, 10**9, 1, 0), referrer="")
    await charged(referral, ("bob", START - 10 * minute, 5, 0, 0))
    figures = await ask(referral, START, START + 60 * minute)
    assert figures == GetLaunchFiguresResponse(
        registered=3,
        converted=2,
        conversion_bps=6666,
        revenue_micro=200_001,
        provider_cost_micro=100_000,
        referrer_micro=20_000,
        net_margin_bps=4000,
    )
    assert (await ask(referral, START - 10 * minute, START)).revenue_micro == 5
    assert (await ask(referral, START + minute, START + 61 * minute)).registered == 0


async def test_told_in_several_events_it_adds_up(referral: Referral) -> None:
    for _ in range(3):
        await charged(referral, ("bob", START, 100, 30, 10), ("bob", START, 1, 0, 0))
    figures = await ask(referral, START, START + timedelta(seconds=1))
    assert (figures.revenue_micro, figures.provider_cost_micro, figures.referrer_micro) == (303, 90, 30)


async def test_a_period_that_is_none_is_refused(referral: Referral) -> None:
    for end in (START, START - timedelta(days=1), START + timedelta(days=4 * 366)):
        with pytest.raises(Refusal, match="three years"):
            await ask(referral, START, end)


def test_bonuses_may_cost_more_than_there_is() -> None:
    counted = Counted(1000, 3, 10_000_000, 1_000_000, 300_000, 100_000)
    assert rules.cac_micro(counted) == 3_333_333
    assert rules.conversion_bps(counted) == 30
    assert rules.net_margin_bps(counted) == -94_000
    assert rules.net_margin_bps(Counted(1, 1, 10**15, 1, 0, 0)) == -(2**31)
    assert rules.net_margin_bps(Counted(0, 0, 0, 0, 0, 0)) == 0
    assert datetime(2026, 3, 1, 12, tzinfo=UTC) == START
