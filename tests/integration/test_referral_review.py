"""The review queue: filters, evidence, decisions, notes, the clock that escalates and never releases."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from protos.referral.v1 import events_pb2
from services.referral.commands import bonuses as moves
from services.referral.commands import checking, qualifying
from services.referral.model.bonuses import Action, ActionKind, ActionSource, BonusTerms
from services.referral.rules import bonuses as bonus_rules
from services.referral.store import bonuses
from tests.conftest import Database
from tests.support.referral import START, opened
from tests.support.risk import CLEAR, CLEARED, CONFIRM, CONFIRMED, DAY, HOUR, Desk, desk_at, refused

REGISTRATION, STANDING = pb.REVIEW_SUBJECT_REGISTRATION, pb.REVIEW_SUBJECT_STANDING
SHARED = pb.REVIEW_SUBJECT_SHARED_ADDRESS
_numbers = itertools.count()


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with opened(await database("referral")) as referral, desk_at(referral) as desk:
        yield desk


async def earn(desk: Desk, account_id: str) -> UUID:
    """A bonus of a referee, its budget reserved."""
    action = Action(
        ActionSource.BILLING, ActionKind.CREDIT_PURCHASE, f"action-{next(_numbers)}", UUID(int=0), 5_000_000,
        desk.clock.now(),
    )  # fmt: skip
    recorded = await qualifying.record_action(desk.referral.postgres, desk.clock, BonusTerms(), account_id, action)
    assert recorded.bonus is not None
    async with desk.referral.postgres.transaction() as connection:
        bonus = await bonuses.lock(connection, recorded.bonus.bonus_id)
        assert bonus is not None
        await moves.change(connection, bonus, bonus_rules.reserved(bonus, UUID(int=1), desk.clock.now()))
    return recorded.bonus.bonus_id


async def check(desk: Desk, bonus_id: UUID) -> tuple[bool, str]:
    """What the granting job does at the end of a bonus's hold."""
    async with desk.referral.postgres.transaction() as connection:
        bonus = await bonuses.lock(connection, bonus_id)
        assert bonus is not None
        verdict = await checking.check(connection, bonus, now=desk.clock.now())
        await moves.change(connection, bonus, bonus_rules.judged(bonus, verdict, desk.clock.now()))
    return verdict.flagged, verdict.reason


async def bonus_of(desk: Desk, bonus_id: UUID) -> tuple[str, str, str | None]:
    [row] = await desk.referral.rows("SELECT state, reason, cleared_by FROM bonuses WHERE bonus_id = $1", bonus_id)
    return row["state"], row["reason"], row["cleared_by"]


async def flagged(desk: Desk, *account_ids: str, referrer: str = "creator") -> list[str]:
    """Cases of registrations whose referrer keeps its standing."""
    await desk.crowd(f"honest-{referrer}-", 4 * len(account_ids) + 4, referrer)
    await desk.farm(f"first-{referrer}", *account_ids, referrer=referrer)
    return [(await desk.case_of(each)).case_id for each in account_ids]


async def test_pages_show_the_most_urgent_first_then_the_oldest(desk: Desk) -> None:
    await flagged(desk, "a", "b", "c")
    desk.clock.advance(HOUR)
    await flagged(desk, "d", "e", referrer="other")
    await desk.referral.ref("x")
    await desk.suspend("x")
    seen, token = [], ""
    while True:
        page = await desk.stub.ListReviewCases(pb.ListReviewCasesRequest(page_size=2, page_token=token))
        assert page.open_total == 6
        seen += list(page.cases)
        token = page.next_page_token
        if not token:
            break
    assert len({case.case_id for case in seen}) == 6
    assert STANDING in {case.subject for case in seen}
    places = [(case.urgency != pb.REVIEW_URGENCY_URGENT, case.opened_at.ToDatetime(), case.case_id) for case in seen]
    assert places == sorted(places)


async def test_filters_narrow_the_queue(desk: Desk) -> None:
    a, b = await flagged(desk, "a", "b")
    await flagged(desk, "c", referrer="other")
    other = str(await desk.ref("other"))
    await desk.decide(b, CONFIRM)
    assert Counter(case.subject for case in await desk.cases()) == {REGISTRATION: 2}
    assert [case.case_id for case in await desk.cases(referrer_ref=str(await desk.ref("creator")))] == [a]
    assert [case.referrer_ref for case in await desk.cases(referrer_ref=other)] == [other]
    assert [case.case_id for case in await desk.cases(state=CONFIRMED)] == [b]
    assert await desk.cases(subject=SHARED) == await desk.cases(overdue_only=True) == []
    assert await desk.cases(urgency=pb.REVIEW_URGENCY_URGENT) == []
    desk.clock.advance(72 * HOUR)
    assert len(await desk.cases(overdue_only=True)) == 2


async def test_two_reviewers_decide_one_case_and_one_of_them_does(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    calls = [desk.decide(case_id, decision, who) for who, decision in (("olga", CLEAR), ("oleg", CONFIRM)) * 3]
    done = await asyncio.gather(*calls, return_exceptions=True)
    [decided] = [each for each in done if isinstance(each, pb.ReviewCase)]
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case_id))
    assert found.case == decided
    assert await refused(desk.decide(case_id, CLEAR)) == "CASE_DECIDED"
    assert len(await desk.acts()) == 1


async def test_the_same_decision_again_gets_the_same_answer(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    answers = await asyncio.gather(*(desk.decide(case_id, CLEAR, request_id="once") for _ in range(4)))
    assert len({each.SerializeToString() for each in answers}) == 1
    assert answers[0].state == CLEARED
    assert await desk.acts() == ["CASE_CLEARED"]
    assert await refused(desk.decide(case_id, CONFIRM, request_id="once")) == "REQUEST_ID_REUSED"


async def test_many_are_decided_each_for_itself(desk: Desk) -> None:
    a, b, c = await flagged(desk, "a", "b", "c")
    await desk.decide(b, CONFIRM)
    nowhere = str(UUID(int=9))
    request = pb.DecideReviewCasesRequest(
        request_id="many", case_ids=[c, nowhere, b, a, c], decision=CLEAR, operator_id="olga", reason="A family."
    )
    answers = await asyncio.gather(*(desk.stub.DecideReviewCases(request) for _ in range(3)))
    assert answers[0] == answers[1] == answers[2]
    assert [(each.case_id, each.state, each.refusal) for each in answers[0].cases] == [
        (c, CLEARED, ""),
        (nowhere, pb.REVIEW_CASE_STATE_UNSPECIFIED, "CASE_UNKNOWN"),
        (b, CONFIRMED, "CASE_DECIDED"),
        (a, CLEARED, ""),
        (c, CLEARED, "CASE_DECIDED"),
    ]
    assert await desk.acts() == ["CASE_CONFIRMED", "CASE_CLEARED", "CASE_CLEARED"]


async def test_many_at_once_in_whatever_order_are_decided_once_each(desk: Desk) -> None:
    cases = await flagged(desk, *"abcdef")
    for name in "abcdef":
        await earn(desk, name)

    def request(number: int, case_ids: list[str]) -> pb.DecideReviewCasesRequest:
        return pb.DecideReviewCasesRequest(
            request_id=f"r{number}", case_ids=case_ids, decision=CONFIRM, operator_id=f"op{number}", reason="Bots."
        )

    orders = [cases, cases[::-1], cases[3:] + cases[:3]]
    answers = await asyncio.gather(*(desk.stub.DecideReviewCases(request(n, each)) for n, each in enumerate(orders)))
    done = [each.case_id for answer in answers for each in answer.cases if not each.refusal]
    assert sorted(done) == sorted(cases)
    states = await desk.referral.rows("SELECT state, reason FROM bonuses")
    assert [(row["state"], row["reason"]) for row in states] == [("denied", "REVIEW_CONFIRMED")] * 6


async def test_at_most_a_hundred_are_decided_in_one_call(desk: Desk) -> None:
    for count in (0, 101):
        request = pb.DecideReviewCasesRequest(
            request_id="r", case_ids=[str(UUID(int=1))] * count, decision=CLEAR, operator_id="o", reason="r"
        )
        assert await refused(desk.stub.DecideReviewCases(request)) == "CASES_TOO_MANY"


async def test_a_flagged_bonus_waits_for_its_reviewer_however_long_it_takes(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    bonus_id = await earn(desk, "a")
    desk.clock.advance(7 * DAY)
    assert await check(desk, bonus_id) == (True, "FLAGGED")
    assert await bonus_of(desk, bonus_id) == ("withheld", "FLAGGED", None)
    case = await desk.case_of("a")
    assert (case.case_id, case.bonus_id, case.amount_micro) == (case_id, str(bonus_id), 5_000_000)
    for _ in range(3):
        desk.clock.advance(100 * DAY)
        await asyncio.gather(desk.escalate(), desk.escalate())
    assert await bonus_of(desk, bonus_id) == ("withheld", "FLAGGED", None)
    assert (await desk.case_of("a")).urgency == pb.REVIEW_URGENCY_URGENT
    assert await desk.acts() == ["CASE_ESCALATED"]
    await desk.decide(case_id, CLEAR)
    assert await bonus_of(desk, bonus_id) == ("withheld", "FLAGGED", "review")


async def test_no_job_decides_a_case(desk: Desk) -> None:
    await flagged(desk, "a")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await desk.referral.execute(
            """
            UPDATE review_cases SET state = 'cleared', decided_by = 'job:anything', decided_at = now(),
                decision_reason = 'time'
            """
        )


async def test_a_bonus_of_a_confirmed_registration_is_denied(desk: Desk) -> None:
    cases = await flagged(desk, "a", "b", "c")
    pending, withheld = await earn(desk, "a"), await earn(desk, "b")
    await desk.decide(cases[0], CONFIRM)
    assert await bonus_of(desk, pending) == ("denied", "REVIEW_CONFIRMED", None)
    desk.clock.advance(7 * DAY)
    await check(desk, withheld)
    await desk.decide(cases[1], CONFIRM)
    assert await bonus_of(desk, withheld) == ("denied", "REVIEW_CONFIRMED", None)
    # One that is earned after the verdict waits for a reviewer again.
    await desk.decide(cases[2], CONFIRM)
    later = await earn(desk, "c")
    desk.clock.advance(7 * DAY)
    assert await check(desk, later) == (True, "CONFIRMED")
    assert (await desk.case_of("c")).bonus_id == str(later)


async def test_what_was_cleared_before_the_hold_was_over_passes_the_checks(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    bonus_id = await earn(desk, "a")
    await desk.decide(case_id, CLEAR)
    desk.clock.advance(7 * DAY)
    assert await check(desk, bonus_id) == (False, "")
    assert await bonus_of(desk, bonus_id) == ("pending", "", "checks")


async def test_two_cases_hold_one_bonus_until_both_are_cleared(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    bonus_id = await earn(desk, "a")
    await desk.takes("creator", 1)
    await desk.takes("a", 1)
    desk.clock.advance(7 * DAY)
    assert await check(desk, bonus_id) == (True, "SHARED_ADDRESS")
    await desk.decide(case_id, CLEAR)
    assert (await bonus_of(desk, bonus_id))[2] is None
    await desk.decide((await desk.case_of("a")).case_id, CLEAR)
    assert (await bonus_of(desk, bonus_id))[2] == "review"


async def test_a_bonus_that_was_cleared_is_held_back_when_a_wallet_turns_out_to_be_shared(desk: Desk) -> None:
    await desk.crowd("a", 1)
    bonus_id = await earn(desk, "a0")
    desk.clock.advance(7 * DAY)
    assert await check(desk, bonus_id) == (False, "")
    await desk.takes("creator", 1)
    await desk.takes("a0", 1)
    assert await bonus_of(desk, bonus_id) == ("withheld", "SHARED_ADDRESS", None)
    await desk.decide((await desk.case_of("a0")).case_id, CLEAR)
    assert await bonus_of(desk, bonus_id) == ("withheld", "SHARED_ADDRESS", "review")


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (events_pb2.STANDING_BONUSES_ON_HOLD, "REFERRER_ON_HOLD"),
        (events_pb2.STANDING_SUSPENDED, "REFERRER_SUSPENDED"),
    ],
)
async def test_new_bonuses_of_a_sanctioned_referrer_wait_for_review(desk: Desk, standing: Any, reason: str) -> None:
    await desk.crowd("a", 1)
    bonus_id = await earn(desk, "a0")
    await desk.stub.OverrideStanding(pb.OverrideStandingRequest(**desk.order("creator"), standing=standing))
    desk.clock.advance(7 * DAY)
    assert await check(desk, bonus_id) == (True, reason)
    assert (await desk.case_of("a0")).bonus_id == str(bonus_id)


async def test_confirmed_fraud_denies_whatever_is_not_decided(desk: Desk) -> None:
    await desk.crowd("a", 2)
    earned = [await earn(desk, "a0"), await earn(desk, "a1")]
    await desk.suspend("creator")
    desk.clock.advance(7 * DAY)
    await check(desk, earned[0])
    await desk.stub.ConfirmFraud(pb.ConfirmFraudRequest(**desk.order("creator", "oleg")))
    for bonus_id in earned:
        assert await bonus_of(desk, bonus_id) == ("denied", "REFERRER_FORFEITED", None)
    # A case that is decided later changes nothing of it.
    await desk.decide((await desk.case_of("a0")).case_id, CLEAR)
    assert (await bonus_of(desk, earned[0]))[0] == "denied"


async def test_the_checks_fail_closed(desk: Desk) -> None:
    await desk.crowd("a", 1)
    bonus_id = await earn(desk, "a0")
    await desk.referral.execute("UPDATE risk_weights SET state = 'retired'")
    with pytest.raises(Exception, match="active"):
        await check(desk, bonus_id)
    assert await bonus_of(desk, bonus_id) == ("pending", "", None)


async def test_notes_are_kept_in_their_order(desk: Desk) -> None:
    [case_id] = await flagged(desk, "a")
    for text in ("First.", "Second\nline é."):
        request = pb.AddReviewNoteRequest(request_id=desk.new_id(), case_id=case_id, text=text, operator_id="olga")
        assert await desk.stub.AddReviewNote(request) == await desk.stub.AddReviewNote(request)
        desk.clock.advance(HOUR)
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case_id))
    assert [note.text for note in found.notes] == ["First.", "Second\nline é."]
    assert found.notes[0].written_at == to_timestamp(START)
    assert await desk.acts() == ["CASE_NOTED"] * 2


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ListReviewCasesRequest(page_size=201), "CASES_PAGE_INVALID"),
        (pb.ListReviewCasesRequest(page_size=-1), "CASES_PAGE_INVALID"),
        (pb.ListReviewCasesRequest(page_token="!"), "CASES_PAGE_INVALID"),
        (pb.ListReviewCasesRequest(page_token="MSAyMDI2LTAxLTAxIHg="), "CASES_PAGE_INVALID"),
        (pb.ListReviewCasesRequest(state=9), "CASE_FILTER_INVALID"),  # type: ignore[arg-type]
        (pb.ListReviewCasesRequest(subject=9), "CASE_FILTER_INVALID"),  # type: ignore[arg-type]
        (pb.ListReviewCasesRequest(urgency=9), "CASE_FILTER_INVALID"),  # type: ignore[arg-type]
        (pb.ListReviewCasesRequest(referrer_ref="x"), "ACCOUNT_REF_INVALID"),
        (pb.GetReviewCaseRequest(case_id="x"), "CASE_ID_INVALID"),
        (pb.GetReviewCaseRequest(case_id=str(UUID(int=1))), "CASE_UNKNOWN"),
        (pb.DecideReviewCaseRequest(request_id="r", operator_id="o", reason="r"), "DECISION_INVALID"),
        (pb.DecideReviewCaseRequest(request_id="r", decision=CLEAR, operator_id="o"), "ACT_REASON_INVALID"),
        (pb.DecideReviewCaseRequest(request_id="r", decision=CLEAR, reason="r"), "ACTOR_INVALID"),
        (
            pb.DecideReviewCaseRequest(
                request_id="r", case_id=str(UUID(int=1)), decision=CLEAR, operator_id="o", reason="r"
            ),
            "CASE_UNKNOWN",
        ),
        (pb.AddReviewNoteRequest(request_id="r", case_id=str(UUID(int=1)), operator_id="o"), "NOTE_INVALID"),
        (
            pb.AddReviewNoteRequest(request_id="r", case_id=str(UUID(int=1)), operator_id="o", text="\0"),
            "NOTE_INVALID",
        ),
        (pb.LookUpAccountRequest(), "ACCOUNT_ID_INVALID"),
        (pb.LookUpAccountRequest(account_id="nobody"), "ACCOUNT_NOT_KNOWN"),
        (pb.LookUpAccountRequest(account_ref="x"), "ACCOUNT_REF_INVALID"),
        (pb.LookUpAccountRequest(account_ref=str(UUID(int=1))), "ACCOUNT_NOT_KNOWN"),
        (pb.ListAuditLogRequest(page_size=201), "AUDIT_LOG_PAGE_INVALID"),
        (pb.ListAuditLogRequest(page_token="-1"), "AUDIT_LOG_PAGE_INVALID"),
        (pb.ListAuditLogRequest(account_ref="x"), "ACCOUNT_REF_INVALID"),
        (pb.ListRiskWeightsRequest(page_size=101), "RISK_WEIGHTS_PAGE_INVALID"),
        (pb.ListRiskWeightsRequest(page_token="٣"), "RISK_WEIGHTS_PAGE_INVALID"),
        (pb.GetShadowReportRequest(weights_version=9), "RISK_WEIGHTS_UNKNOWN"),
        (
            pb.GetShadowReportRequest(weights_version=1, from_time=to_timestamp(START), to_time=to_timestamp(START)),
            "SHADOW_PERIOD_INVALID",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_reason(desk: Desk, request_: Any, reason: str) -> None:
    method = getattr(desk.stub, type(request_).__name__.removesuffix("Request"))
    assert await refused(method(request_)) == reason
    assert await desk.acts() == []


async def test_an_account_is_looked_up_by_either_of_its_names(desk: Desk) -> None:
    await desk.crowd("a", 1)
    by_id = await desk.stub.LookUpAccount(pb.LookUpAccountRequest(account_id="a0"))
    by_ref = await desk.stub.LookUpAccount(pb.LookUpAccountRequest(account_ref=by_id.account_ref))
    assert by_id == by_ref
    assert (by_id.referred, by_id.registered_at, by_id.standing) == (
        True, to_timestamp(START), events_pb2.STANDING_GOOD,
    )  # fmt: skip
    creator = await desk.stub.LookUpAccount(pb.LookUpAccountRequest(account_id="creator"))
    assert (creator.referrals, len(creator.codes), creator.referred) == (1, 1, False)
    assert not creator.HasField("registered_at")


async def test_acts_are_listed_by_account_and_by_operator(desk: Desk) -> None:
    for name in ("x", "y"):
        await desk.referral.ref(name)
        await desk.suspend(name, f"op-{name}")
    everything = (await desk.stub.ListAuditLog(pb.ListAuditLogRequest())).rows
    assert [row.sequence for row in everything] == [2, 1]
    assert [row.operator_id for row in everything] == ["op-y", "op-x"]
    by_account = await desk.stub.ListAuditLog(pb.ListAuditLogRequest(account_ref=str(await desk.ref("x"))))
    by_operator = await desk.stub.ListAuditLog(pb.ListAuditLogRequest(operator_id="op-x"))
    assert list(by_account.rows) == list(by_operator.rows) == [everything[1]]
    first = await desk.stub.ListAuditLog(pb.ListAuditLogRequest(page_size=1))
    rest = await desk.stub.ListAuditLog(pb.ListAuditLogRequest(page_size=1, page_token=first.next_page_token))
    assert (len(rest.rows), rest.next_page_token) == (1, "")


async def test_nobody_but_the_gateway_sits_at_the_desk(desk: Desk) -> None:
    async with desk_at(desk.referral, "payout") as other:
        for call in (
            other.stub.ListReviewCases(pb.ListReviewCasesRequest()),
            other.stub.ConfirmFraud(pb.ConfirmFraudRequest()),
            other.stub.ListAuditLog(pb.ListAuditLogRequest()),
        ):
            assert await refused(call) == "CALLER_NOT_ALLOWED"
