"""Staged grants: invisible until they are real, and then all at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from protos.distribution.v1 import campaigns_pb2 as pb
from tests.conftest import Database
from tests.support.campaigns import (
    REFERRAL,
    SCORE,
    Campaigns,
    campaigns_running,
    grant,
    ref,
    refusal,
    refused,
)
from tests.support.distribution import ledger_running, referral_running


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns
        await campaigns.check_books()


async def lots(mesh: Campaigns) -> int:
    return int(await mesh.ledger.value("SELECT count(*) FROM credit_lots"))


async def test_a_staged_grant_is_invisible_until_it_is_committed(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(1_000, SCORE)
    opened = await mesh.open("run", 900, type=SCORE)
    assert (opened.staged_grant.reserved_micro, opened.replayed) == (900, False)
    grants = [grant(amount_micro=number) for number in range(1, 41)]
    await mesh.stage("run", grants[:20])
    staged = await mesh.stage("run", grants[10:])  # ten of them are there already
    assert (staged.staged_count, staged.staged_micro, staged.state) == (40, 820, pb.STAGED_GRANT_STATE_OPEN)
    assert await lots(mesh) == 0
    assert not [name for name in await mesh.ledger.balances() if name.startswith("credits:")]
    committed = await mesh.commit("run", 40, 820)
    assert (committed.staged_grant.state, committed.replayed) == (pb.STAGED_GRANT_STATE_COMMITTED, False)
    again = await mesh.commit("run", 40, 820)
    assert (again.staged_grant, again.replayed) == (committed.staged_grant, True)
    assert await mesh.staged("run") == committed.staged_grant
    campaign = await mesh.get(campaign_id)
    assert (campaign.available_micro, campaign.reserved_micro, campaign.granted_micro) == (180, 0, 820)
    legs = await mesh.ledger.value(
        "SELECT count(*) FROM transfer_entries WHERE transfer_id = $1", committed.staged_grant.transfer_id
    )
    assert (legs, await lots(mesh), await mesh.ledger.value("SELECT count(*) FROM staged_lots")) == (41, 40, 0)


async def test_an_abandoned_grant_gives_everything_back(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    await mesh.open("run", 80, type=REFERRAL)
    await mesh.stage("run", [grant(amount_micro=10) for _ in range(4)])
    await mesh.pause(campaign_id)
    abandoned = await mesh.abandon("run")
    assert (abandoned.staged_grant.state, abandoned.replayed) == (pb.STAGED_GRANT_STATE_ABANDONED, False)
    assert (await mesh.abandon("run")).replayed
    assert await refusal(mesh.commit("run", 4, 40)) == "STAGED_GRANT_ABANDONED"
    assert await refusal(mesh.stage("run", [grant()])) == "STAGED_GRANT_ABANDONED"
    assert (await mesh.get(campaign_id)).available_micro == 100
    assert await mesh.ledger.value("SELECT count(*) FROM staged_lots") == 0


async def test_opening_reserves_what_is_wanted_or_what_there_is(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    assert await refusal(mesh.open("run", 101, campaign_id=campaign_id)) == "BUDGET_EXHAUSTED"
    less = await mesh.open("run", 101, accept_less=True, campaign_id=campaign_id)
    assert less.staged_grant.reserved_micro == 100
    assert await refusal(mesh.open("other", 1, accept_less=True, campaign_id=campaign_id)) == "BUDGET_EXHAUSTED"
    assert (await mesh.open("run", 101, accept_less=True, type=REFERRAL)).replayed
    for call in (
        mesh.open("run", 100, accept_less=True, campaign_id=campaign_id),
        mesh.open("run", 101, campaign_id=campaign_id),
        mesh.open("run", 101, accept_less=True, campaign_id=ref()),
        mesh.open("run", 101, accept_less=True, type=SCORE),
    ):
        assert await refusal(call) == "STAGED_GRANT_MISMATCH"


async def test_the_same_opening_at_once_is_one(mesh: Campaigns) -> None:
    await mesh.active(100)
    answers = await asyncio.gather(*(mesh.open("run", 100, type=REFERRAL) for _ in range(32)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 31


async def test_a_commit_is_of_what_was_staged_to_the_micro(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    await mesh.open("run", 50, campaign_id=campaign_id)
    grants = [grant(amount_micro=20), grant(amount_micro=25)]
    await mesh.stage("run", grants)
    for count, total in ((1, 45), (2, 44), (3, 45), (2, 46)):
        assert await refusal(mesh.commit("run", count, total)) == "STAGED_INCOMPLETE"
    for count, total in ((0, 45), (2, 0), (-1, 45)):
        assert await refusal(mesh.commit("run", count, total)) == "STAGED_TOTAL_INVALID"
    over, told = await refused(mesh.stage("run", [grant(amount_micro=6)]))
    assert (over, told["staged_micro"]) == ("STAGED_OVER_RESERVED", "45")
    for wrong, reason in (
        (grant(grants[0].account_ref, 20), "GRANT_ACCOUNT_TWICE"),
        (grant(grants[0].account_ref, 21, grants[0].grant_id), "GRANT_MISMATCH"),
        (grant(ref(), 20, grants[0].grant_id), "GRANT_MISMATCH"),
        (grant(ref(), 1, reservation_id="r"), "GRANT_RESERVATION_INVALID"),
    ):
        assert await refusal(mesh.stage("run", [wrong])) == reason
    twin = ref()
    assert await refusal(mesh.stage("run", [grant(twin), grant(twin)])) == "GRANT_ACCOUNT_TWICE"
    await mesh.pause(campaign_id)
    assert await refusal(mesh.commit("run", 2, 45)) == "CAMPAIGN_NOT_ACTIVE"
    await mesh.activate(campaign_id)
    await mesh.commit("run", 2, 45)
    assert await refusal(mesh.commit("run", 2, 46)) == "STAGED_GRANT_MISMATCH"
    assert await refusal(mesh.abandon("run")) == "STAGED_GRANT_COMMITTED"
    for call in (mesh.commit("x", 1, 1), mesh.abandon("x"), mesh.stage("x", [grant()]), mesh.staged("x")):
        assert await refusal(call) == "STAGED_GRANT_UNKNOWN"
    assert await refusal(mesh.staged("")) == "STAGED_GRANT_ID_INVALID"


async def test_a_grant_made_another_way_meanwhile_stops_the_commit(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    await mesh.open("run", 50, campaign_id=campaign_id)
    one = grant(amount_micro=10)
    await mesh.stage("run", [one, grant(amount_micro=10)])
    await mesh.grant(campaign_id, one)
    found, told = await refused(mesh.commit("run", 2, 20))
    assert (found, told["grant_id"]) == ("GRANT_MISMATCH", one.grant_id)
    assert await lots(mesh) == 1


async def test_a_cap_holds_for_staged_grants_too(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(1_000, cap_micro=100)
    account_ref = ref()
    await mesh.grant(campaign_id, grant(account_ref, 60))
    await mesh.open("run", 500, campaign_id=campaign_id)
    too_much = grant(account_ref, 41)
    await mesh.stage("run", [grant(amount_micro=100), too_much])
    found, told = await refused(mesh.commit("run", 2, 141))
    assert (found, told["grant_id"]) == ("ACCOUNT_CAP", too_much.grant_id)
    await mesh.abandon("run")
    await mesh.open("again", 500, campaign_id=campaign_id)
    await mesh.stage("again", [grant(amount_micro=100), grant(account_ref, 40)])
    await mesh.commit("again", 2, 140)
    assert await refusal(mesh.grant(campaign_id, grant(account_ref, 1))) == "ACCOUNT_CAP"


async def test_staging_committing_and_abandoning_at_once_end_in_one_way(mesh: Campaigns) -> None:
    await mesh.active(10_000)
    for number in range(6):
        name = f"run-{number}"
        await mesh.open(name, 100, type=REFERRAL)
        grants = [grant(amount_micro=10, grant_id=f"{name}-{index}") for index in range(10)]
        await asyncio.gather(*(mesh.stage(name, grants) for _ in range(8)))
        ends = [mesh.commit(name, 10, 100), mesh.abandon(name), mesh.commit(name, 10, 100), mesh.abandon(name)]
        outcomes = await asyncio.gather(*(refusal(end) for end in ends))
        assert sorted(outcomes) in (
            ["", "", "STAGED_GRANT_ABANDONED", "STAGED_GRANT_ABANDONED"],
            ["", "", "STAGED_GRANT_COMMITTED", "STAGED_GRANT_COMMITTED"],
        )
    await mesh.check_books()


async def test_more_than_one_batch_is_real_at_once(mesh: Campaigns) -> None:
    await mesh.active(2_500 * 7, SCORE)
    await mesh.open("run", 2_500 * 7, type=SCORE)
    for size in (1_000, 1_000, 500):
        await mesh.stage("run", [grant(amount_micro=7) for _ in range(size)])
    assert await lots(mesh) == 0
    await mesh.commit("run", 2_500, 17_500)
    assert await lots(mesh) == 2_500
