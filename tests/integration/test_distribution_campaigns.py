"""Campaigns, budgets and grants through their door, on a real database."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import REGISTRY

from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.commands.campaigns import measure_campaigns
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

RESERVED, GRANTED, RELEASED = (
    pb.RESERVATION_STATE_RESERVED,
    pb.RESERVATION_STATE_GRANTED,
    pb.RESERVATION_STATE_RELEASED,
)


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns
        await campaigns.check_books()


async def test_a_campaign_lives_from_draft_to_completion(mesh: Campaigns) -> None:
    campaign_id = await mesh.create(cap_micro=7)
    draft = await mesh.get(campaign_id)
    assert (draft.state, draft.pool, draft.account_cap_micro) == (pb.CAMPAIGN_STATE_DRAFT, "referral:signup", 7)
    assert (await mesh.fund(campaign_id, 100)).available_micro == 100
    assert await refusal(mesh.pause(campaign_id)) == "CAMPAIGN_MOVE_REFUSED"
    assert await refusal(mesh.complete(campaign_id)) == "CAMPAIGN_MOVE_REFUSED"
    assert (await mesh.activate(campaign_id)).state == pb.CAMPAIGN_STATE_ACTIVE
    assert await refusal(mesh.activate(campaign_id)) == "CAMPAIGN_MOVE_REFUSED"
    await mesh.reserve("r", ref(), 5, campaign_id=campaign_id)
    paused = await mesh.pause(campaign_id)
    assert (paused.available_micro, paused.reserved_micro) == (95, 5)
    assert await refusal(mesh.reserve("s", ref(), 5, campaign_id=campaign_id)) == "CAMPAIGN_NOT_ACTIVE"
    assert await refusal(mesh.grant(campaign_id, grant())) == "CAMPAIGN_NOT_ACTIVE"
    assert await refusal(mesh.open("g", 5, campaign_id=campaign_id)) == "CAMPAIGN_NOT_ACTIVE"
    assert await refusal(mesh.complete(campaign_id)) == "CAMPAIGN_HAS_RESERVATIONS"
    await mesh.release("r")
    done = await mesh.complete(campaign_id)
    assert (done.state, done.available_micro, done.reserved_micro) == (pb.CAMPAIGN_STATE_COMPLETED, 0, 0)
    assert await mesh.ledger.balances() == {}  # marketing has it back
    for call in (mesh.fund(campaign_id, 1), mesh.activate(campaign_id), mesh.complete(campaign_id)):
        assert await refusal(call) == "CAMPAIGN_MOVE_REFUSED"
    changes = await mesh.ledger.rows(
        "SELECT change, amount_micro, operator_id FROM campaign_changes ORDER BY change_id"
    )
    assert [(row["change"], row["amount_micro"]) for row in changes] == [
        ("created", 0), ("funded", 100), ("activated", 0), ("paused", 0), ("completed", 100)
    ]  # fmt: skip


async def test_every_change_of_a_campaign_is_made_once_per_request(mesh: Campaigns) -> None:
    first = await mesh.create(request_id="create")
    assert await mesh.create(request_id="create") == first
    assert await refusal(mesh.create(request_id="create", name="autumn")) == "REQUEST_ID_REUSED"
    asked = mesh.asked(first)
    for _ in range(3):
        await mesh.stub.FundCampaign(pb.FundCampaignRequest(**asked, amount_micro=50))
    await asyncio.gather(
        *(
            mesh.stub.FundCampaign(pb.FundCampaignRequest(**(asked | {"request_id": "twice"}), amount_micro=7))
            for _ in range(16)
        )
    )
    assert (await mesh.get(first)).available_micro == 57
    assert await mesh.ledger.balances() == {f"campaign:{first}:available": 57, "platform:marketing": -57}


async def test_one_campaign_of_a_type_is_active_at_a_time(mesh: Campaigns) -> None:
    first, second = await mesh.create(), await mesh.create()
    outcomes = await asyncio.gather(*(refusal(mesh.activate(each)) for each in (first, second)))
    assert sorted(outcomes) == ["", "OTHER_CAMPAIGN_ACTIVE"]
    await mesh.activate(await mesh.create(SCORE))
    await mesh.pause(first if not outcomes[0] else second)
    await mesh.activate(second if not outcomes[0] else first)


async def test_campaigns_are_listed_newest_first_in_pages(mesh: Campaigns) -> None:
    made = [await mesh.create(name=f"campaign {number}") for number in range(5)]
    await mesh.activate(made[2])
    first = await mesh.stub.ListCampaigns(pb.ListCampaignsRequest(page_size=3))
    assert [each.campaign_id for each in first.campaigns] == made[:1:-1]
    rest = await mesh.stub.ListCampaigns(pb.ListCampaignsRequest(page_size=3, page_token=first.next_page_token))
    assert ([each.campaign_id for each in rest.campaigns], rest.next_page_token) == (made[1::-1], "")
    active = await mesh.stub.ListCampaigns(pb.ListCampaignsRequest(state=pb.CAMPAIGN_STATE_ACTIVE, type=REFERRAL))
    assert [each.campaign_id for each in active.campaigns] == [made[2]]


async def test_budget_is_reserved_released_and_granted(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    one, other = ref(), ref()
    made = await mesh.reserve("r1", one, 40, type=REFERRAL)
    assert (made.campaign_id, made.state, made.replayed) == (campaign_id, RESERVED, False)
    await mesh.reserve("r2", other, 60, campaign_id=campaign_id)
    assert await refusal(mesh.reserve("r3", other, 1, type=REFERRAL)) == "BUDGET_EXHAUSTED"
    assert (await mesh.release("r2")).state == RELEASED
    assert (await mesh.release("r2", "OTHER")).replayed
    granted = await mesh.grant(campaign_id, grant(one, 40, "g1", "r1"))
    assert (granted.granted_micro, granted.lots[0].replayed) == (40, False)
    assert await refusal(mesh.release("r1")) == "RESERVATION_GRANTED"
    for reservation_id, account_ref, amount, state in (("r1", one, 40, GRANTED), ("r2", other, 60, RELEASED)):
        again = await mesh.reserve(reservation_id, account_ref, amount, type=REFERRAL)
        assert (again.state, again.replayed) == (state, True)
    campaign = await mesh.get(campaign_id)
    assert (campaign.available_micro, campaign.reserved_micro, campaign.granted_micro) == (60, 0, 40)
    assert await mesh.ledger.balances() == {
        "platform:marketing": -100, f"campaign:{campaign_id}:available": 60, f"credits:{one}:referral:signup": 40
    }  # fmt: skip


async def test_a_reservation_is_what_it_was_made_as(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    account_ref = ref()
    await mesh.reserve("r", account_ref, 40, campaign_id=campaign_id)
    for call in (
        mesh.reserve("r", account_ref, 41, campaign_id=campaign_id),
        mesh.reserve("r", ref(), 40, campaign_id=campaign_id),
        mesh.reserve("r", account_ref, 40, campaign_id=ref()),
        mesh.reserve("r", account_ref, 40, type=SCORE),
    ):
        assert await refusal(call) == "RESERVATION_MISMATCH"
    for wrong, reason in (
        (grant(account_ref, 39, "g", "r"), "RESERVATION_MISMATCH"),
        (grant(ref(), 40, "g", "r"), "RESERVATION_MISMATCH"),
        (grant(account_ref, 40, "g", "nothing"), "RESERVATION_UNKNOWN"),
    ):
        found, told = await refused(mesh.grant(campaign_id, wrong))
        assert (found, told["grant_id"]) == (reason, "g")
    await mesh.grant(campaign_id, grant(account_ref, 40, "g", "r"))
    assert await refusal(mesh.grant(campaign_id, grant(account_ref, 40, "h", "r"))) == "RESERVATION_USED"
    await mesh.reserve("s", account_ref, 40, campaign_id=campaign_id)
    await mesh.release("s")
    assert await refusal(mesh.grant(campaign_id, grant(account_ref, 40, "h", "s"))) == "RESERVATION_RELEASED"
    assert await refusal(mesh.release("never")) == "RESERVATION_UNKNOWN"


async def test_a_budget_is_exact_under_concurrent_reservations(mesh: Campaigns) -> None:
    await mesh.active(1_000)
    outcomes = await asyncio.gather(*(refusal(mesh.reserve(f"r{n}", ref(), 30, type=REFERRAL)) for n in range(64)))
    assert Counter(outcomes) == {"": 33, "BUDGET_EXHAUSTED": 31}
    assert await mesh.ledger.value("SELECT count(*) FROM reservations") == 33


async def test_the_same_reservation_at_once_is_one(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(30)
    account_ref = ref()
    answers = await asyncio.gather(*(mesh.reserve("r", account_ref, 30, type=REFERRAL) for _ in range(32)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 31
    assert (await mesh.get(campaign_id)).reserved_micro == 30
    released = await asyncio.gather(*(mesh.release("r") for _ in range(32)))
    assert sorted(answer.replayed for answer in released) == [False] + [True] * 31
    assert (await mesh.get(campaign_id)).available_micro == 30


async def test_an_account_gets_no_more_than_the_cap(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(1_000, cap_micro=100)
    account_ref = ref()
    await mesh.reserve("r", account_ref, 60, campaign_id=campaign_id)
    assert await refusal(mesh.reserve("s", account_ref, 41, campaign_id=campaign_id)) == "ACCOUNT_CAP"
    found, told = await refused(
        mesh.grant(campaign_id, grant(account_ref, 40, "fits"), grant(account_ref, 1, "too much"))
    )
    assert (found, told["grant_id"]) == ("ACCOUNT_CAP", "too much")
    await mesh.grant(campaign_id, grant(account_ref, 60, "g", "r"), grant(account_ref, 40))
    assert await refusal(mesh.grant(campaign_id, grant(account_ref, 1))) == "ACCOUNT_CAP"
    other = ref()
    await mesh.reserve("t", other, 100, campaign_id=campaign_id)
    await mesh.release("t")
    outcomes = await asyncio.gather(*(refusal(mesh.grant(campaign_id, grant(other, 30))) for _ in range(32)))
    assert Counter(outcomes) == {"": 3, "ACCOUNT_CAP": 29}


async def test_a_batch_is_granted_whole_or_not_at_all(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    grants = [grant(amount_micro=10, grant_id=f"g{number}") for number in range(11)]
    found, told = await refused(mesh.grant(campaign_id, *grants))
    assert (found, told["grant_id"]) == ("BUDGET_EXHAUSTED", "g10")
    assert await mesh.ledger.value("SELECT count(*) FROM credit_lots") == 0
    first = await mesh.grant(campaign_id, *grants[:4], request_id="one")
    assert await mesh.grant(campaign_id, *grants[:4], request_id="one") == first
    mixed = await mesh.grant(campaign_id, *grants[2:6])
    assert [lot.replayed for lot in mixed.lots] == [True, True, False, False]
    assert (mixed.granted_micro, mixed.lots[0].lot_id) == (20, first.lots[2].lot_id)
    other = grant(grants[0].account_ref, 11, "g0")
    assert await refusal(mesh.grant(campaign_id, grants[7], other)) == "GRANT_MISMATCH"
    assert await refusal(mesh.grant(campaign_id, grants[7], request_id="one")) == "REQUEST_ID_REUSED"
    await mesh.pause(campaign_id)
    assert (await mesh.grant(campaign_id, *grants[:4])).granted_micro == 0
    assert (await mesh.get(campaign_id)).granted_micro == 60


async def test_the_same_grants_at_once_are_made_once(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(1_000)
    grants = [grant(amount_micro=10, grant_id=f"g{number}") for number in range(10)]
    answers = await asyncio.gather(*(mesh.grant(campaign_id, *grants) for _ in range(32)))
    assert sorted(answer.granted_micro for answer in answers) == [0] * 31 + [100]
    assert len({answer.lots[0].lot_id for answer in answers}) == 1


async def test_a_thousand_grants_are_one_transfer(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(500_500)
    granted = await mesh.grant(campaign_id, *(grant(amount_micro=number) for number in range(1, 1001)))
    assert granted.granted_micro == 500_500
    assert await mesh.ledger.value("SELECT count(*) FROM transfers WHERE kind = 14") == 1
    assert await refusal(mesh.grant(campaign_id, *(grant() for _ in range(1001)))) == "GRANTS_SIZE_INVALID"


async def test_a_score_campaign_is_funded_by_the_pool(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100, SCORE)
    assert await refusal(mesh.fund(campaign_id, 1)) == "CAMPAIGN_FUNDED_BY_POOL"
    await mesh.reserve("r", ref(), 30, type=SCORE)
    await mesh.release("r")
    account_ref = ref()
    await mesh.grant(campaign_id, grant(account_ref, 60))
    campaign = await mesh.get(campaign_id)
    assert (campaign.available_micro, campaign.granted_micro, campaign.pool) == (40, 60, "score:rewards")
    await mesh.complete(campaign_id)
    assert await mesh.ledger.balances() == {
        "foundation": -100, "foundation:score_rewards": 40, f"credits:{account_ref}:score:rewards": 60
    }  # fmt: skip


REFUSED: list[tuple[Callable[[Campaigns], Awaitable[object]], str]] = [
    (lambda mesh: mesh.create(name=""), "CAMPAIGN_NAME_INVALID"),
    (lambda mesh: mesh.create(name="x" * 101), "CAMPAIGN_NAME_INVALID"),
    (lambda mesh: mesh.create(name="a\nb"), "CAMPAIGN_NAME_INVALID"),
    (lambda mesh: mesh.create(0), "CAMPAIGN_TYPE_INVALID"),
    (lambda mesh: mesh.create(9), "CAMPAIGN_TYPE_INVALID"),
    (lambda mesh: mesh.create(cap_micro=-1), "CAP_OUT_OF_RANGE"),
    (lambda mesh: mesh.create(cap_micro=10**15 + 1), "CAP_OUT_OF_RANGE"),
    (lambda mesh: mesh.create(operator_id=""), "NAME_INVALID"),
    (lambda mesh: mesh.create(operator_id="é"), "NAME_INVALID"),
    (lambda mesh: mesh.create(reason=""), "REASON_INVALID"),
    (lambda mesh: mesh.create(reason="x" * 1001), "REASON_INVALID"),
    (lambda mesh: mesh.create(request_id=""), "REQUEST_ID_INVALID"),
    (lambda mesh: mesh.get("x"), "CAMPAIGN_ID_INVALID"),
    (lambda mesh: mesh.get(ref()), "CAMPAIGN_UNKNOWN"),
    (lambda mesh: mesh.activate(ref()), "CAMPAIGN_UNKNOWN"),
    (lambda mesh: mesh.fund(ref(), 0), "BUDGET_AMOUNT_OUT_OF_RANGE"),
    (lambda mesh: mesh.fund(ref(), 10**15 + 1), "BUDGET_AMOUNT_OUT_OF_RANGE"),
    (lambda mesh: mesh.stub.ListCampaigns(pb.ListCampaignsRequest(page_size=101)), "CAMPAIGN_PAGE_INVALID"),
    (lambda mesh: mesh.stub.ListCampaigns(pb.ListCampaignsRequest(page_token="x")), "CAMPAIGN_PAGE_INVALID"),
    (
        lambda mesh: mesh.stub.ListCampaigns(pb.ListCampaignsRequest(state=pb.CampaignState.ValueType(9))),
        "CAMPAIGN_STATE_INVALID",
    ),
    (lambda mesh: mesh.reserve("", ref(), 1, type=REFERRAL), "RESERVATION_ID_INVALID"),
    (lambda mesh: mesh.reserve("r" * 129, ref(), 1, type=REFERRAL), "RESERVATION_ID_INVALID"),
    (lambda mesh: mesh.reserve("r", "x", 1, type=REFERRAL), "REF_INVALID"),
    (lambda mesh: mesh.reserve("r", ref(), 0, type=REFERRAL), "BUDGET_AMOUNT_OUT_OF_RANGE"),
    (lambda mesh: mesh.reserve("r", ref(), 1), "CAMPAIGN_TYPE_INVALID"),
    (lambda mesh: mesh.reserve("r", ref(), 1, type=REFERRAL), "NO_ACTIVE_CAMPAIGN"),
    (lambda mesh: mesh.reserve("r", ref(), 1, campaign_id=ref()), "CAMPAIGN_UNKNOWN"),
    (lambda mesh: mesh.release("r", ""), "REASON_INVALID"),
    (lambda mesh: mesh.grant(ref()), "GRANTS_SIZE_INVALID"),
    (lambda mesh: mesh.grant(ref(), grant()), "CAMPAIGN_UNKNOWN"),
    (lambda mesh: mesh.grant(ref(), grant(grant_id="g"), grant(grant_id="g")), "GRANT_ID_INVALID"),
    (lambda mesh: mesh.grant(ref(), grant("nobody")), "GRANT_ACCOUNT_INVALID"),
    (lambda mesh: mesh.grant(ref(), grant(amount_micro=-1)), "GRANT_AMOUNT_OUT_OF_RANGE"),
    (lambda mesh: mesh.grant(ref(), grant(reservation_id="é")), "GRANT_RESERVATION_INVALID"),
    (
        lambda mesh: mesh.grant(ref(), grant(reservation_id="r"), grant(reservation_id="r")),
        "GRANT_RESERVATION_INVALID",
    ),
]


async def test_bad_input_is_refused_with_its_reason_and_nothing_is_written(mesh: Campaigns) -> None:
    for call, reason in REFUSED:
        assert await refusal(call(mesh)) == reason
    for table in ("campaigns", "campaign_changes", "reservations", "credit_lots", "transfers", "idempotency"):
        assert await mesh.ledger.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_what_active_campaigns_have_left_is_measured(mesh: Campaigns) -> None:
    campaign_id = await mesh.active(100)
    await mesh.reserve("r1", one := ref(), 40, type=REFERRAL)
    await mesh.reserve("r2", ref(), 10, type=REFERRAL)
    await mesh.grant(campaign_id, grant(one, 40, "g1", "r1"))
    await measure_campaigns(mesh.ledger.postgres)
    parts = {
        part: REGISTRY.get_sample_value(
            "creator_distribution_campaign_micro", {"pool": "referral:signup", "part": part}
        )
        for part in ("available", "reserved", "granted")
    }
    assert parts == {"available": 50, "reserved": 10, "granted": 40}
