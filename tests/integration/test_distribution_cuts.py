"""Every command of campaigns, its connection lost at any statement, before or after: run again, it is done once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from libs.periods import read_period
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.commands import budgets, burning, campaigns, grants, score_pool, staged
from services.distribution.model.campaigns import CampaignType, Grant, Order, Wanted
from tests.conftest import Database
from tests.support.campaigns import REFERRAL, Campaigns, campaigns_running, grant, ref
from tests.support.cuts import LOST, cut
from tests.support.distribution import charge, ledger_running, referral_running

STATEMENTS_MAX = 60
ORDER = Order("olga", "growth")
BY_TYPE = Wanted(None, CampaignType.REFERRAL)
ACCOUNT = ref()

Command = Callable[[], Awaitable[object]]


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns


async def survive(mesh: Campaigns, prepare: Callable[[str], Awaitable[Command]]) -> list[dict[str, int]]:
    """Runs a fresh command for every cut there can be; answers what each moved in the end."""
    ends: list[dict[str, int]] = []
    for after in (False, True):
        for at in range(1, STATEMENTS_MAX):
            command = await prepare(f"{'after' if after else 'before'}-{at}")
            before = await mesh.ledger.balances()
            with cut(at, after=after) as cutting, suppress(*LOST):
                await command()
            await mesh.check_books()
            await command()
            await command()
            await mesh.check_books()
            now = await mesh.ledger.balances()
            ends.append({name: now.get(name, 0) - before.get(name, 0) for name in sorted(now.keys() | before.keys())})
            if not cutting.happened:
                break
        else:
            raise AssertionError("the command never got through")
    return [{name: moved for name, moved in end.items() if moved} for end in ends]


def same(ends: list[dict[str, int]]) -> dict[str, int]:
    assert len(ends) > 10
    assert [end for end in ends if sorted(end.values()) != sorted(ends[0].values())] == []
    return ends[0]


async def test_reserving_and_releasing_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    campaign_id = await mesh.active(10**9, cap_micro=10**9)

    async def reserve(name: str) -> Command:
        return lambda: budgets.reserve(ledger.postgres, ledger.clock, BY_TYPE, name, ACCOUNT, 7)

    reserved = same(await survive(mesh, reserve))
    assert reserved == {f"campaign:{campaign_id}:available": -7, f"campaign:{campaign_id}:reserved": 7}

    async def release(name: str) -> Command:
        await budgets.reserve(ledger.postgres, ledger.clock, BY_TYPE, f"r-{name}", ACCOUNT, 7)
        return lambda: budgets.release(ledger.postgres, ledger.clock, f"r-{name}", "DENIED")

    assert same(await survive(mesh, release)) == {name: -moved for name, moved in reserved.items()}


async def test_granting_a_batch_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    campaign_id = await mesh.active(10**9, cap_micro=10**9)

    async def prepare(name: str) -> Command:
        await budgets.reserve(ledger.postgres, ledger.clock, BY_TYPE, name, ACCOUNT, 7)
        made = [grant(ACCOUNT, 7, f"{name}-1", name), grant(ACCOUNT, 5, f"{name}-2")]
        request = pb.BatchGrantRequest(request_id=name, campaign_id=campaign_id, grants=made)
        wanted = [Grant(each.grant_id, each.account_ref, each.amount_micro, each.reservation_id) for each in made]
        return lambda: grants.batch_grant(ledger.postgres, ledger.clock, request, wanted)

    assert same(await survive(mesh, prepare))[f"credits:{ACCOUNT}:referral:signup"] == 12


async def test_a_staged_grant_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    campaign_id = await mesh.active(10**9, cap_micro=10**9)
    accounts = [ref() for _ in range(10)]

    def lots(name: str) -> list[Grant]:
        return [Grant(f"{name}-{account_ref}", account_ref, 10, "") for account_ref in accounts]

    async def opened(name: str) -> None:
        await staged.open_grant(ledger.postgres, ledger.clock, name, BY_TYPE, 107, accept_less=False)

    async def prepare_open(name: str) -> Command:
        return lambda: staged.open_grant(ledger.postgres, ledger.clock, f"o-{name}", BY_TYPE, 107, accept_less=False)

    async def prepare_stage(name: str) -> Command:
        await opened(f"s-{name}")
        return lambda: staged.stage_grants(ledger.postgres, f"s-{name}", lots(name))

    async def prepare_commit(name: str) -> Command:
        await opened(f"c-{name}")
        await staged.stage_grants(ledger.postgres, f"c-{name}", lots(f"c-{name}"))
        return lambda: staged.commit_grant(ledger.postgres, ledger.clock, f"c-{name}", 10, 100)

    async def prepare_abandon(name: str) -> Command:
        await opened(f"a-{name}")
        await staged.stage_grants(ledger.postgres, f"a-{name}", lots(f"a-{name}"))
        return lambda: staged.abandon_grant(ledger.postgres, ledger.clock, f"a-{name}", "ABORTED")

    available, reserved = f"campaign:{campaign_id}:available", f"campaign:{campaign_id}:reserved"
    assert same(await survive(mesh, prepare_open)) == {available: -107, reserved: 107}
    assert same(await survive(mesh, prepare_stage)) == {}
    assert same(await survive(mesh, prepare_commit)) == {
        available: 7, reserved: -107, **{f"credits:{account_ref}:referral:signup": 10 for account_ref in accounts}
    }  # fmt: skip
    assert same(await survive(mesh, prepare_abandon)) == {available: 107, reserved: -107}


async def test_burning_and_putting_back_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    account_ref = await mesh.give(await mesh.active(10**9), "payer", *[9] * 300)

    async def burn(name: str) -> Command:
        return lambda: burning.spend(ledger.postgres, ledger.clock, name, account_ref, 14)

    burned = same(await survive(mesh, burn))
    assert burned == {f"credits:{account_ref}:referral:signup": -14, "platform:promotional_spend": 14}

    async def put_back(name: str) -> Command:
        await burning.spend(ledger.postgres, ledger.clock, f"b-{name}", account_ref, 14)
        return lambda: burning.put_back(ledger.postgres, ledger.clock, f"b-{name}")

    assert same(await survive(mesh, put_back)) == {name: -moved for name, moved in burned.items()}


async def test_funding_and_ending_a_campaign_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    campaign_id = await mesh.create()

    async def fund(name: str) -> Command:
        asked = mesh.asked(campaign_id) | {"request_id": name}
        request = pb.FundCampaignRequest(**asked, amount_micro=11)
        return lambda: campaigns.fund_campaign(ledger.postgres, ledger.clock, request, ORDER)

    assert same(await survive(mesh, fund)) == {f"campaign:{campaign_id}:available": 11, "platform:marketing": -11}

    async def complete(name: str) -> Command:
        ending = await mesh.create(REFERRAL)
        await mesh.fund(ending, 11)
        await mesh.activate(ending)
        request = pb.CompleteCampaignRequest(**(mesh.asked(ending) | {"request_id": name}))
        return lambda: campaigns.complete_campaign(ledger.postgres, ledger.clock, request, ORDER)

    assert sorted(same(await survive(mesh, complete)).values()) == [-11, 11]


async def test_funding_the_score_pool_cut_off_anywhere(mesh: Campaigns) -> None:
    ledger = mesh.ledger
    years = iter(range(1900, 2026))

    async def prepare(_name: str) -> Command:
        period = read_period(f"{next(years)}-03")
        finalized_at = datetime(period.first.year, 3, 5, tzinfo=UTC)
        await ledger.finalize(charge(finalized_at=finalized_at, revenue_micro=1_000))
        return lambda: score_pool.fund(ledger.postgres, ledger.clock, period, ORDER, funding_bps=1_000)

    assert same(await survive(mesh, prepare)) == {"foundation": -25, "foundation:score_rewards": 25}
