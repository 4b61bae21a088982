"""Risk: what is kept of a sign-up, how it is scored, and what nobody is refused for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import risk
from services.referral.model.risk import AddressKind
from services.referral.rules.signals import key_of
from tests.conftest import Database
from tests.support.referral import START, opened
from tests.support.risk import CLEAR, CONFIRM, DAY, HOUR, OPEN, Desk, desk_at, refused

WEEK = 7 * DAY + HOUR


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with opened(await database("referral")) as referral, desk_at(referral) as desk:
        yield desk


async def parts(desk: Desk, account_id: str) -> dict[str, tuple[int, int]]:
    """Observed and points, of the case's evidence."""
    case = await desk.case_of(account_id)
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case.case_id))
    return {part.signal: (part.observed, part.points) for part in found.parts}


async def score_of(desk: Desk, account_id: str) -> int:
    [row] = await desk.referral.rows(
        "SELECT score FROM risk_assessments WHERE referee_ref = $1", await desk.ref(account_id)
    )
    return int(row["score"])


async def test_only_keyed_hashes_are_kept_of_a_request(desk: Desk) -> None:
    seen = {"ip_address": "203.0.113.77", "user_agent": "Mozilla/5.0 (secret)", "fingerprint": "f00f-print"}
    await desk.sign_up("a", **seen)
    tables = await desk.referral.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'referral'")
    for table in tables:
        rows = await desk.referral.rows(f"SELECT t::text AS line FROM {table['tablename']} t")  # noqa: S608
        for text in (*seen.values(), "203.0.113"):
            hexed = text.encode().hex()
            assert [row for row in rows if text in row["line"] or hexed in row["line"]] == []
    kinds = await desk.referral.rows("SELECT kind, key_id FROM risk_signals ORDER BY kind")
    assert [row["kind"] for row in kinds] == ["fingerprint", "ip", "prefix", "user_agent"]
    assert {row["key_id"] for row in kinds} == {desk.keys[0].key_id}


async def test_the_parts_of_a_score_are_the_evidence_of_its_case(desk: Desk) -> None:
    for name in "abcd":
        await desk.sign_up(name, ip_address="203.0.113.7", fingerprint="f" if name in "cd" else "")
    assert await parts(desk, "d") == {
        "IP_CLUSTER": (3, 3000),
        "FINGERPRINT": (1, 1250),
        "VELOCITY": (4, 2000),
        "NO_PAID_ACTIVITY": (0, 0),
    }
    case = await desk.case_of("d")
    assert (case.risk_score, case.urgency) == (6250, pb.REVIEW_URGENCY_NORMAL)
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case.case_id))
    assert found.weights_version == 1
    # Who has most in common with it comes first.
    refs = [str(await desk.ref(name)) for name in "abc"]
    assert found.related_refs[0] == refs[2]
    assert sorted(found.related_refs) == sorted(refs)


async def test_the_same_network_alone_blocks_nobody(desk: Desk) -> None:
    for number in range(25):
        assert not (await desk.sign_up(f"a{number}", ip_address="203.0.113.7")).already_bound
    assert len(await desk.referral.rows("SELECT FROM referral_registrations WHERE kind = 'referred'")) == 25


async def test_neighbours_of_one_network_are_fast_but_no_cluster(desk: Desk) -> None:
    for number in range(1, 7):
        await desk.sign_up(f"a{number}", ip_address=f"203.0.113.{number}")
    assert await score_of(desk, "a5") == await score_of(desk, "a6") == 2500
    desk.clock.advance(2 * HOUR)
    await desk.sign_up("late", ip_address="203.0.113.99")
    assert await score_of(desk, "late") == 500


async def test_the_first_of_a_burst_is_found_out_when_its_week_is_over(desk: Desk) -> None:
    await desk.farm("a", "b", "c", "d", "e")
    assert await score_of(desk, "a") == 500
    desk.clock.advance(WEEK)
    await desk.rescore()
    assert await score_of(desk, "a") == 3000 + 2500 + 2500 + 1600
    assert (await desk.case_of("a")).urgency == pb.REVIEW_URGENCY_URGENT
    # What grew worse is the same case, with the newer evidence.
    assert (await desk.case_of("b")).risk_score == 9600
    assert await desk.referral.rows("SELECT FROM risk_assessments WHERE rescore_at IS NOT NULL") == []


async def test_who_paid_in_the_first_week_has_no_part_for_it(desk: Desk) -> None:
    await desk.crowd("a", 2)
    await desk.referral.execute(
        "INSERT INTO referee_activity VALUES ($1, $2, $3, $3)",
        await desk.ref("a0"),
        await desk.ref("creator"),
        START + timedelta(days=6),
    )
    desk.clock.advance(WEEK)
    await desk.rescore()
    assert (await score_of(desk, "a0"), await score_of(desk, "a1")) == (500, 2100)


async def test_two_replicas_look_again_once(desk: Desk) -> None:
    await desk.crowd("z", 6)
    await desk.farm(*"abcdef")
    desk.clock.advance(WEEK)
    await asyncio.gather(desk.rescore(), desk.rescore(), desk.rescore())
    weeks = await desk.referral.rows("SELECT referee_ref FROM risk_scores WHERE stage = 'week'")
    assert len(weeks) == 12
    assert len(await desk.cases(subject=pb.REVIEW_SUBJECT_REGISTRATION)) == 6
    assert len(await desk.cases(subject=pb.REVIEW_SUBJECT_STANDING)) == 1


async def test_hashes_of_a_former_key_are_still_compared_with(desk: Desk) -> None:
    machine = {"ip_address": "203.0.113.7", "fingerprint": "f"}
    await desk.sign_up("old", **machine)
    desk.keys = (key_of("the second key"), *desk.keys)
    await desk.sign_up("new", **machine)
    await desk.sign_up("stranger")
    assert (await parts(desk, "new"))["FINGERPRINT"] == (1, 1250)
    ids = await desk.referral.rows(
        "SELECT DISTINCT key_id FROM risk_signals WHERE referee_ref = $1", await desk.ref("stranger")
    )
    # The former key makes no hash that it had not made before.
    assert [row["key_id"] for row in ids] == [desk.keys[0].key_id]
    desk.clock.advance(WEEK)
    await desk.rescore()
    assert (await parts(desk, "old"))["FINGERPRINT"] == (1, 1250)


async def test_hashes_go_after_ninety_days(desk: Desk) -> None:
    await desk.farm("a", "b")
    desk.clock.advance(timedelta(days=60))
    await desk.farm("c")
    desk.clock.advance(timedelta(days=30))
    before = desk.clock.now() - timedelta(days=90)
    purged = await asyncio.gather(*(risk.purge_signals(desk.referral.postgres, before) for _ in range(2)))
    assert sum(purged) == 6
    assert len(await desk.referral.rows("SELECT FROM risk_signals")) == 3


@pytest.mark.parametrize(
    "client",
    [
        {"ip_address": ""},
        {"ip_address": "not an address"},
        {"ip_address": "::ffff:203.0.113.7"},
        {"ip_address": "2001:db8::1%eth0"},
        {"ip_address": "9" * 5000, "user_agent": "\0" * 9000, "fingerprint": "\ud800"},
    ],
)
async def test_whatever_a_request_looked_like_it_is_bound(desk: Desk, client: dict[str, str]) -> None:
    assert not (await desk.sign_up("a", **client)).already_bound


async def test_an_address_of_version_six_is_a_customers_network(desk: Desk) -> None:
    await desk.sign_up("a", ip_address="2001:db8:1:2::1")
    await desk.sign_up("b", ip_address="2001:db8:1:2:ffff::9")
    await desk.sign_up("c", ip_address="::ffff:203.0.113.7")
    await desk.sign_up("d", ip_address="203.0.113.7")
    assert await score_of(desk, "b") == await score_of(desk, "d") == 1000 + 1000


async def test_a_wallet_in_common_with_the_referrer_is_refused(desk: Desk) -> None:
    await desk.takes("creator", 1)
    await desk.takes("a", 1)
    with pytest.raises(Refusal) as refusal:
        await desk.sign_up("a")
    assert refusal.value.reason == "SAME_WALLET"
    # It comes after self-referral, and before the lock of an organic account; the attempt is written down.
    await desk.referral.resolve("a")
    with pytest.raises(Refusal) as refusal:
        await desk.sign_up("a")
    assert refusal.value.reason == "SAME_WALLET"
    with pytest.raises(Refusal) as refusal:
        await desk.sign_up("creator")
    assert refusal.value.reason == "SELF_REFERRAL"
    assert [row["reason"] for row in await desk.referral.log("a")] == ["SAME_WALLET"] * 2


@pytest.mark.parametrize("kind", list(AddressKind))
async def test_a_referral_whose_ends_share_an_address_is_a_case(desk: Desk, kind: AddressKind) -> None:
    await desk.sign_up("a")
    await desk.takes("creator", 1, kind)
    await desk.takes("a", 1, kind)
    # Told again, also of its confirmation, it is no second case.
    await desk.takes("a", 1, kind)
    case = await desk.case_of("a")
    assert (case.subject, case.urgency) == (pb.REVIEW_SUBJECT_SHARED_ADDRESS, pb.REVIEW_URGENCY_URGENT)
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case.case_id))
    assert list(found.related_refs) == [str(await desk.ref("creator"))]
    await desk.decide(case.case_id, CLEAR)
    await desk.takes("a", 1, kind)
    assert await desk.cases() == []
    await desk.takes("a", 2, kind, "creator")
    assert len(await desk.cases()) == 1


async def test_referees_of_one_referrer_that_share_a_destination_are_a_case_of_the_later_one(desk: Desk) -> None:
    await desk.sign_up("a")
    desk.clock.advance(HOUR)
    await desk.sign_up("b")
    await desk.takes("b", 7, AddressKind.DESTINATION)
    await desk.takes("a", 7, AddressKind.DESTINATION)
    case = await desk.case_of("b")
    assert case.referrer_ref == str(await desk.ref("creator"))
    await desk.decide(case.case_id, CONFIRM)
    looked_up = await desk.stub.LookUpAccount(pb.LookUpAccountRequest(account_id="creator"))
    assert (looked_up.referrals, looked_up.flagged) == (2, 1)


async def test_strangers_that_share_an_address_are_a_case_of_the_account_itself(desk: Desk) -> None:
    await desk.takes("x", 7)
    await desk.takes("y", 7)
    [case] = await desk.cases()
    assert (case.referrer_ref, case.referee_ref) == (str(await desk.ref("y")), "")
    assert case.urgency == pb.REVIEW_URGENCY_NORMAL
    assert (await desk.decide(case.case_id, CONFIRM)).decided_by == "olga"


async def test_two_that_take_one_address_at_once_are_seen(desk: Desk) -> None:
    await desk.sign_up("a")
    await asyncio.gather(desk.takes("a", 1), desk.takes("creator", 1))
    assert len(await desk.cases(subject=pb.REVIEW_SUBJECT_SHARED_ADDRESS)) == 1


async def test_an_exempt_account_is_not_flagged_until_its_exemption_ends(desk: Desk) -> None:
    await desk.referral.code_of("creator")
    await desk.exempt("creator", 30 * DAY)
    await desk.farm("a", "b", "c")
    assert await desk.cases() == []
    looked_up = await desk.stub.LookUpAccount(pb.LookUpAccountRequest(account_id="creator"))
    assert looked_up.exempt_until == to_timestamp(START + 30 * DAY)
    end = pb.EndExemptionRequest(**desk.order("creator"))
    assert (await desk.stub.EndExemption(end)).ended
    assert (await desk.stub.EndExemption(end)).ended
    assert not (await desk.stub.EndExemption(pb.EndExemptionRequest(**desk.order("creator")))).ended
    await desk.farm("d")
    assert len(await desk.cases(state=OPEN, subject=pb.REVIEW_SUBJECT_REGISTRATION)) == 1
    assert await desk.acts() == ["ACCOUNT_EXEMPTED", "EXEMPTION_ENDED"]


def proposal(
    desk: Desk, operator_id: str = "olga", *, flagged_from: int = 3000, **caps: int
) -> pb.ProposeRiskWeightsRequest:
    plain = {"IP_CLUSTER": 3000, "FINGERPRINT": 2500, "VELOCITY": 2500, "NO_PAID_ACTIVITY": 2000}
    return pb.ProposeRiskWeightsRequest(
        request_id=desk.new_id(),
        weights=[
            pb.RiskWeight(signal=signal, cap=cap, divisor=2, factor_bps=10_000)
            for signal, cap in (plain | caps).items()
        ],
        flagged_from=flagged_from,
        urgent_from=7000,
        operator_id=operator_id,
        reason="A better guess.",
    )


async def test_a_shadow_runs_silently_and_reports_what_it_would_have_done(desk: Desk) -> None:
    made = (await desk.stub.ProposeRiskWeights(proposal(desk, flagged_from=500, FINGERPRINT=0))).risk_weights
    assert (made.weights_version, made.state) == (2, pb.RISK_WEIGHTS_STATE_SHADOW)
    await desk.crowd("a", 3)
    await desk.farm("b", "c")
    # Alone the active version decided.
    assert len(await desk.cases()) == 1
    request = pb.GetShadowReportRequest(weights_version=2)
    report = await desk.stub.GetShadowReport(request)
    assert (report.scored, report.flagged_by_both, report.flagged_by_active_only) == (5, 1, 0)
    assert (report.flagged_by_shadow_only, report.shadow_only_cleared) == (4, 4)
    request.from_time.CopyFrom(to_timestamp(START + HOUR))
    assert (await desk.stub.GetShadowReport(request)).scored == 0


async def test_weights_are_activated_by_somebody_else_and_out_of_the_shadow_only(desk: Desk) -> None:
    await desk.stub.ProposeRiskWeights(proposal(desk, flagged_from=500))

    def activate(operator_id: str, version: int = 2, request_id: str = "") -> pb.ActivateRiskWeightsRequest:
        return pb.ActivateRiskWeightsRequest(
            request_id=request_id or desk.new_id(), weights_version=version, operator_id=operator_id, reason="Fits."
        )

    assert await refused(desk.stub.ActivateRiskWeights(activate("olga"))) == "RISK_WEIGHTS_NEED_SECOND"
    assert await refused(desk.stub.ActivateRiskWeights(activate("oleg", 9))) == "RISK_WEIGHTS_UNKNOWN"
    first = await desk.stub.ActivateRiskWeights(activate("oleg", request_id="once"))
    assert first == await desk.stub.ActivateRiskWeights(activate("oleg", request_id="once"))
    assert first.risk_weights.activated_by == "oleg"
    assert await refused(desk.stub.ActivateRiskWeights(activate("oleg", 1))) == "RISK_WEIGHTS_NOT_SHADOW"
    await desk.sign_up("a")
    assert (await desk.case_of("a")).risk_score == 1250
    listed = (await desk.stub.ListRiskWeights(pb.ListRiskWeightsRequest(page_size=1))).versions
    assert [(each.weights_version, each.state) for each in listed] == [(2, pb.RISK_WEIGHTS_STATE_ACTIVE)]
    rest = await desk.stub.ListRiskWeights(pb.ListRiskWeightsRequest(page_token="2"))
    assert [(each.weights_version, each.state) for each in rest.versions] == [(1, pb.RISK_WEIGHTS_STATE_RETIRED)]


async def test_of_many_shadows_the_newest_five_run(desk: Desk) -> None:
    proposals = [proposal(desk) for _ in range(7)]
    await asyncio.gather(*(desk.stub.ProposeRiskWeights(each) for each in proposals))
    listed = (await desk.stub.ListRiskWeights(pb.ListRiskWeightsRequest())).versions
    assert [each.weights_version for each in listed if each.state == pb.RISK_WEIGHTS_STATE_SHADOW] == [8, 7, 6, 5, 4]
    # The same again is no other proposal.
    await asyncio.gather(*(desk.stub.ProposeRiskWeights(each) for each in proposals))
    assert len((await desk.stub.ListRiskWeights(pb.ListRiskWeightsRequest())).versions) == 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights": []}, "RISK_WEIGHTS_INVALID"),
        ({"weights": [pb.RiskWeight(signal="IP_CLUSTER", cap=1, divisor=1)] * 4}, "RISK_WEIGHTS_INVALID"),
        ({"flagged_from": 0}, "RISK_THRESHOLD_INVALID"),
        ({"urgent_from": 10_001}, "RISK_THRESHOLD_INVALID"),
        ({"urgent_from": 1}, "RISK_THRESHOLD_INVALID"),
        ({"operator_id": ""}, "ACTOR_INVALID"),
        ({"operator_id": "job:sanctions"}, "ACTOR_INVALID"),
        ({"reason": " "}, "ACT_REASON_INVALID"),
        ({"reason": "\0"}, "ACT_REASON_INVALID"),
        ({"request_id": ""}, "REQUEST_ID_INVALID"),
    ],
)
async def test_a_proposal_that_makes_no_sense_is_refused(desk: Desk, change: dict[str, object], reason: str) -> None:
    request = proposal(desk)
    for field in change:
        request.ClearField(field)  # type: ignore[arg-type]
    request.MergeFrom(pb.ProposeRiskWeightsRequest(**change))  # type: ignore[arg-type]
    assert await refused(desk.stub.ProposeRiskWeights(request)) == reason
    assert len((await desk.stub.ListRiskWeights(pb.ListRiskWeightsRequest())).versions) == 1
