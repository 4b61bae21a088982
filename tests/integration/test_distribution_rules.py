"""Rules through their door: two operators, a week, and no charge decided by what was over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pytest

from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution.jobs import all_jobs
from tests.conftest import Database
from tests.support.campaigns import refusal, refused
from tests.support.distribution import (
    NOW,
    Ledger,
    RunningReferral,
    charge,
    later,
    ledger_running,
    referral_running,
    settings,
)
from tests.support.eventually import eventually
from tests.support.rules import WEEK, Governance, assert_audited, governed, name, order, rates

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def dsn(database: Database) -> str:
    return await database("distribution")


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[RunningReferral]:
    async with referral_running(await database("referral")) as running:
        yield running


@pytest.fixture
async def ledger(dsn: str, referral: RunningReferral) -> AsyncIterator[Ledger]:
    async with ledger_running(dsn, referral) as running:
        yield running
        await assert_audited(running)


@pytest.fixture
async def rules(ledger: Ledger) -> AsyncIterator[Governance]:
    async with governed(ledger) as running:
        yield running


async def test_a_rule_needs_two_operators_and_a_week(ledger: Ledger, rules: Governance) -> None:
    await ledger.referral.refer("payer", later(days=-3))
    draft = await rules.propose()
    assert (draft.rule_version, name(draft.state), draft.proposed_by, draft.reason) == (2, "DRAFT", "ann", "why")
    assert await refusal(rules.approve(2)) == "RULE_STATE_WRONG"
    assert name((await rules.submit(2)).state) == "PENDING_APPROVAL"
    assert await refusal(rules.approve(2, "ann")) == "RULE_NEEDS_SECOND"
    cooling = await rules.approve(2)
    assert (name(cooling.state), cooling.decided_by) == ("COOLING_DOWN", "bob")
    assert cooling.cools_down_until == to_timestamp(NOW + WEEK)
    ledger.clock.advance(WEEK - MICROSECOND)
    assert await rules.activate() == 0
    assert (await ledger.finalize(charge("before", finalized_at=ledger.clock.now()))).posted.decision.rule_version == 1
    ledger.clock.advance(MICROSECOND)
    assert await rules.activate() == 1
    active, former = await rules.get(2), await rules.get(1)
    assert (name(active.state), name(former.state)) == ("ACTIVE", "SUPERSEDED")
    assert active.active_from == former.active_to == to_timestamp(NOW + WEEK)
    answer = await ledger.finalize(charge("after", finalized_at=NOW + WEEK))
    assert (answer.posted.decision.rule_version, answer.posted.decision.split.referrer_micro) == (2, 8_000)
    late = await ledger.finalize(charge("late", finalized_at=NOW + WEEK - MICROSECOND))
    assert late.posted.decision.rule_version == 1
    assert (await rules.active(), await rules.active(NOW)) == (2, 1)
    assert await rules.told() == [
        (2, "DRAFT"),
        (2, "PENDING_APPROVAL"),
        (2, "COOLING_DOWN"),
        (1, "SUPERSEDED"),
        (2, "ACTIVE"),
    ]
    assert await rules.acts() == [
        (5, 2, "COOLING_DOWN", "ACTIVE", "job:activate"),
        (4, 1, "ACTIVE", "SUPERSEDED", "job:activate"),
        (3, 2, "PENDING_APPROVAL", "COOLING_DOWN", "bob"),
        (2, 2, "DRAFT", "PENDING_APPROVAL", "ann"),
        (1, 2, "UNSPECIFIED", "DRAFT", "ann"),
    ]
    assert [row[0] for row in await rules.acts(1)] == [4]


async def test_a_kill_switch_needs_two_operators_and_no_time(ledger: Ledger, rules: Governance) -> None:
    await ledger.referral.refer("payer", later(days=-3))
    assert await ledger.try_finalize(charge(finalized_at=later(seconds=-1))) == "ATTRIBUTED"
    pending = await rules.kill()
    assert (name(pending.state), pending.kill_switch) == ("PENDING_APPROVAL", True)
    assert pending.rates == rates(0, 500, 7000, 2500)
    assert await refusal(rules.approve(2, "ann")) == "RULE_NEEDS_SECOND"
    active = await rules.approve(2)
    assert (name(active.state), active.active_from) == ("ACTIVE", to_timestamp(NOW))
    assert not active.HasField("cools_down_until")
    assert await ledger.try_finalize(charge()) == "RATE_ZERO"


async def test_a_rule_with_a_rate_of_zero_that_is_no_kill_switch_cools_down(ledger: Ledger, rules: Governance) -> None:
    await rules.cooling(rates(0))
    assert await rules.activate() == 0
    assert await rules.active() == 1


async def test_a_kill_switch_keeps_the_other_rates_of_the_rule_that_it_ends(ledger: Ledger, rules: Governance) -> None:
    kill = await rules.kill()
    await rules.cooling(rates(700, 1, 2, 9997))
    ledger.clock.advance(WEEK)
    await rules.activate()
    assert (await rules.approve(kill.rule_version)).rates == rates(0, 1, 2, 9997)


async def test_a_draft_is_changed_by_its_proposer_only_and_not_after_it_was_submitted(rules: Governance) -> None:
    await rules.propose()

    async def update(operator: str = "ann", days: int = 8) -> pb.UpdateRuleResponse:
        request = pb.UpdateRuleRequest(rule_version=2, rates=rates(1), cooling_days=days, **order(operator))
        answer: pb.UpdateRuleResponse = await rules.stub.UpdateRule(request)
        return answer

    assert await refusal(update("bob")) == "RULE_NOT_YOURS"
    assert (await update()).rule.rates == rates(1)
    await rules.submit(2)
    assert await refusal(update()) == "RULE_STATE_WRONG"
    assert (await rules.approve(2)).cools_down_until == to_timestamp(later(days=8))


async def test_a_rule_is_rejected_before_it_is_in_force_and_not_after(ledger: Ledger, rules: Governance) -> None:
    await rules.propose()
    assert await refusal(rules.reject(2)) == "RULE_STATE_WRONG"
    await rules.submit(2)
    rejected = await rules.reject(2, "ann")
    assert (name(rejected.state), rejected.decided_by) == ("REJECTED", "ann")
    cooling = await rules.cooling()
    ledger.clock.advance(WEEK)
    assert name((await rules.reject(cooling)).state) == "REJECTED"
    assert await rules.activate() == 0
    for version in (1, 2, cooling):
        assert await refused(rules.reject(version)) == (
            "RULE_STATE_WRONG",
            {"state": name((await rules.get(version)).state)},
        )


async def test_a_rule_never_reaches_back_to_a_charge_that_was_finalized(ledger: Ledger, rules: Governance) -> None:
    """Billing's clock may be minutes ahead: what it finalized there keeps its rule, and the next begins after it."""
    await ledger.referral.refer("payer", later(days=-3))
    ahead = later(minutes=4, microseconds=5)
    assert await ledger.try_finalize(charge(finalized_at=ahead)) == "ATTRIBUTED"
    await rules.kill()
    assert (await rules.approve(2)).active_from == to_timestamp(ahead + MICROSECOND)
    assert await ledger.try_finalize(charge(finalized_at=ahead)) == "ATTRIBUTED"
    assert await ledger.try_finalize(charge(finalized_at=ahead + MICROSECOND)) == "RATE_ZERO"
    assert await rules.active() == 1
    assert await rules.active(ahead + MICROSECOND) == 2


async def test_several_that_have_cooled_down_follow_one_another(ledger: Ledger, rules: Governance) -> None:
    slow, quick, other = await rules.cooling(days=9), await rules.cooling(rates(1)), await rules.cooling(rates(2))
    ledger.clock.advance(timedelta(days=10))
    assert await rules.activate() == 3
    found = [await rules.get(version) for version in (1, quick, other, slow)]
    assert [name(rule.state) for rule in found] == ["SUPERSEDED", "SUPERSEDED", "SUPERSEDED", "ACTIVE"]
    assert [rule.active_to for rule in found[:-1]] == [rule.active_from for rule in found[1:]]


async def test_every_request_id_is_answered_as_the_first_time(ledger: Ledger, rules: Governance) -> None:
    calls: list[tuple[Any, Any]] = [
        (rules.stub.ProposeRule, pb.ProposeRuleRequest(rates=rates(), **order(request_id="1"))),
        (rules.stub.UpdateRule, pb.UpdateRuleRequest(rule_version=2, rates=rates(7), **order(request_id="2"))),
        (rules.stub.SubmitRule, pb.SubmitRuleRequest(rule_version=2, **order(request_id="3"))),
        (rules.stub.ApproveRule, pb.ApproveRuleRequest(rule_version=2, **order("bob", request_id="4"))),
        (rules.stub.RejectRule, pb.RejectRuleRequest(rule_version=2, **order("bob", request_id="5"))),
        (rules.stub.ProposeKillSwitch, pb.ProposeKillSwitchRequest(**order(request_id="6"))),
        (rules.stub.ApproveRule, pb.ApproveRuleRequest(rule_version=3, **order("bob", request_id="7"))),
    ]
    first = [await call(request) for call, request in calls]
    ledger.clock.advance(timedelta(hours=1))
    acts = await rules.acts()
    assert [await call(request) for call, request in calls] == first
    assert await rules.acts() == acts
    for call, request in calls:
        request.reason = "another"
        assert await refusal(call(request)) == "REQUEST_ID_REUSED"


def bad_drafts(rules: Governance) -> dict[str, list[Awaitable[object]]]:
    """By the reason of their refusal."""

    def propose(**changed: Any) -> Awaitable[object]:
        call: Awaitable[object] = rules.stub.ProposeRule(
            pb.ProposeRuleRequest(**({"rates": rates()} | order() | changed))
        )
        return call

    long = "x" * 1001
    return {
        "RULE_RATES_MISSING": [rules.stub.ProposeRule(pb.ProposeRuleRequest(**order()))],
        "REQUEST_ID_INVALID": [propose(request_id=""), propose(request_id="é"), propose(request_id="x" * 129)],
        "INVALID_RATES": [
            propose(rates=rates(5001)),
            propose(rates=rates(-1)),
            propose(rates=rates(0, 1, 1, 1)),
            propose(rates=rates(0, -1, 5001, 5000)),
        ],
        "COOLING_INVALID": [propose(cooling_days=days) for days in (-1, 1, 6, 366)],
        "NAME_INVALID": [propose(operator_id=""), propose(operator_id="é"), propose(operator_id="x" * 129)],
        "REASON_INVALID": [propose(reason=""), propose(reason="  "), propose(reason=long), propose(reason="\n")],
    }


def bad_questions(rules: Governance) -> dict[str, list[Awaitable[object]]]:
    """By the reason of their refusal."""
    stub = rules.stub
    return {
        "RULE_VERSION_INVALID": [
            rules.submit(0),
            rules.approve(-1),
            rules.reject(0),
            rules.get(0),
            stub.ListRuleAudit(pb.ListRuleAuditRequest(rule_version=-1)),
            rules.simulate(NOW, later(days=1), rule_version=0),
        ],
        "RULE_UNKNOWN": [
            rules.submit(9),
            rules.approve(9),
            rules.reject(9),
            rules.get(9),
            rules.simulate(NOW, later(days=1), rule_version=9),
        ],
        "RULE_STATES_INVALID": [stub.ListRules(pb.ListRulesRequest(states=[events_pb2.RULE_STATE_UNSPECIFIED]))],
        "RULE_PAGE_INVALID": [
            stub.ListRules(pb.ListRulesRequest(page_size=101)),
            stub.ListRules(pb.ListRulesRequest(page_token="-1")),
            stub.ListRuleAudit(pb.ListRuleAuditRequest(page_size=201)),
            stub.ListTierSuspensions(pb.ListTierSuspensionsRequest(page_size=-1)),
        ],
        "TIER_INVALID": [stub.ListTierSuspensions(pb.ListTierSuspensionsRequest(model_tier="x" * 65))],
        "SIMULATED_PERIOD_INVALID": [
            rules.simulate(NOW, NOW, rates=rates()),
            stub.SimulateRule(pb.SimulateRuleRequest(rates=rates())),
        ],
        "LOSERS_OUT_OF_RANGE": [rules.simulate(NOW, later(days=1), rates=rates(), losers=101)],
        "CANDIDATE_MISSING": [rules.simulate(NOW, later(days=1))],
    }


async def test_bad_input_is_refused_and_writes_nothing(rules: Governance) -> None:
    for reason, calls in (bad_drafts(rules) | bad_questions(rules)).items():
        assert [await refusal(call) for call in calls] == [reason] * len(calls)
    assert await rules.ledger.value("SELECT count(*) FROM rule_proposals") == 1
    assert await rules.ledger.value("SELECT count(*) FROM idempotency") == 0
    assert await rules.acts() == []


async def test_the_pages_go_on_where_they_ended(rules: Governance) -> None:
    for _ in range(4):
        await rules.propose()
    seen, token = [], ""
    while True:
        page = await rules.stub.ListRules(pb.ListRulesRequest(page_size=2, page_token=token))
        seen += [rule.rule_version for rule in page.rules]
        token = page.next_page_token
        if not token:
            break
    assert seen == [5, 4, 3, 2, 1]
    drafts = await rules.stub.ListRules(pb.ListRulesRequest(states=[events_pb2.RULE_STATE_ACTIVE]))
    assert [rule.rule_version for rule in drafts.rules] == [1]
    first = await rules.stub.ListRuleAudit(pb.ListRuleAuditRequest(page_size=3))
    rest = await rules.stub.ListRuleAudit(pb.ListRuleAuditRequest(page_size=3, page_token=first.next_page_token))
    assert [row.sequence for row in (*first.rows, *rest.rows)] == [4, 3, 2, 1]
    assert not rest.next_page_token


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE rule_audit SET operator_id = 'eve'", asyncpg.RestrictViolationError),
        ("DELETE FROM rule_audit", asyncpg.RestrictViolationError),
        ("TRUNCATE rule_audit", asyncpg.RestrictViolationError),
        ("DELETE FROM rule_proposals", asyncpg.RestrictViolationError),
        ("UPDATE rules SET referrer_bps = 5000", asyncpg.RestrictViolationError),
        ("DELETE FROM rules", asyncpg.RestrictViolationError),
        ("UPDATE rule_proposals SET state = 1 WHERE state = 3", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET referrer_bps = 1 WHERE state = 3", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET proposed_by = 'eve'", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET cooling_seconds = 0 WHERE state = 1", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET decided_by = proposed_by WHERE state = 3", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET cools_down_until = proposed_at WHERE state = 3", asyncpg.CheckViolationError),
        ("UPDATE rule_proposals SET active_from = '-infinity' WHERE state = 4", asyncpg.CheckViolationError),
        (
            "UPDATE rule_proposals SET state = 4, active_from = proposed_at WHERE state = 3",
            asyncpg.CheckViolationError,
        ),
        (
            "UPDATE rule_proposals SET state = 4, active_from = cools_down_until WHERE state = 3",
            asyncpg.UniqueViolationError,
        ),
    ],
)
async def test_the_database_itself_keeps_the_order(
    rules: Governance, statement: str, error: type[asyncpg.PostgresError]
) -> None:
    await rules.cooling()
    await rules.propose()
    with pytest.raises(error):
        await rules.ledger.execute(statement)


async def test_of_many_operators_one_decides(rules: Governance) -> None:
    await rules.propose()
    await rules.submit(2)
    said = await asyncio.gather(*(refusal(rules.approve(2, f"operator-{number}")) for number in range(32)))
    assert sorted(said) == [""] + ["RULE_STATE_WRONG"] * 31
    assert [row[0] for row in await rules.acts()] == [3, 2, 1]


async def test_of_approvals_and_rejections_at_once_the_last_word_is_one_rejection(rules: Governance) -> None:
    """A rule may still be rejected after it was approved, and not approved after it was rejected."""
    await rules.propose()
    await rules.submit(2)
    calls = [call(2, f"operator-{number}") for number in range(16) for call in (rules.approve, rules.reject)]
    said = await asyncio.gather(*(refusal(call) for call in calls))
    rejections, approvals = said[1::2].count(""), said[::2].count("")
    assert (rejections, approvals) in {(1, 0), (1, 1)}
    assert set(said) == {"", "RULE_STATE_WRONG"}
    assert [row[3] for row in await rules.acts()][:1] == ["REJECTED"]
    assert len(await rules.acts()) == 2 + rejections + approvals


async def test_the_same_approval_sent_many_times_at_once_is_one(rules: Governance) -> None:
    kill = await rules.kill()
    answers = await asyncio.gather(*(rules.approve(kill.rule_version, request_id="once") for _ in range(32)))
    assert all(answer == answers[0] for answer in answers)
    assert [state for _, state in await rules.told()].count("ACTIVE") == 1
    assert await rules.active(answers[0].active_from.ToDatetime(UTC)) == kill.rule_version


async def test_a_kill_switch_calls_off_what_is_cooling_down(ledger: Ledger, rules: Governance) -> None:
    """What was agreed before it must not end it unseen, a week later."""
    cooling, kill = await rules.cooling(), await rules.kill()
    await rules.approve(kill.rule_version)
    called_off = await rules.get(cooling)
    assert (name(called_off.state), called_off.decided_by) == ("REJECTED", "bob")
    assert (await rules.acts(cooling))[0][2:] == ("COOLING_DOWN", "REJECTED", "bob")
    assert (await rules.told())[-1] == (cooling, "REJECTED")
    ledger.clock.advance(WEEK)
    assert await rules.activate() == 0
    assert await rules.active() == kill.rule_version
    after = await rules.cooling()
    ledger.clock.advance(WEEK)
    assert await rules.activate() == 1
    assert await rules.active() == after


async def test_replays_next_year_under_new_rules_give_the_first_answer(
    dsn: str, referral: RunningReferral, ledger: Ledger, rules: Governance
) -> None:
    await referral.refer("payer", later(days=-3))
    sent = [charge(f"charge-{number}", revenue_micro=99 + number) for number in range(20)]
    first = [(await ledger.finalize(one)).posted for one in sent]
    await rules.cooling(rates(5000, 0, 0, 10_000))
    ledger.clock.advance(WEEK)
    await rules.activate()
    kill = await rules.kill()
    await rules.approve(kill.rule_version)
    async with ledger_running(dsn, referral) as other:
        for replica in (ledger, other):
            replica.clock.advance(timedelta(days=365))
            again = [await replica.finalize(one) for one in sent]
            assert all(answer.replayed for answer in again)
            assert [answer.posted for answer in again] == first
        assert await other.try_finalize(sent[0]._replace(revenue_micro=1)) == "CHARGE_MISMATCH"
    # One that was late for a year is split as it would have been then.
    late = await ledger.finalize(charge("late", revenue_micro=99))
    assert late.posted.decision == first[0].decision


async def test_two_kill_switches_approved_at_once_follow_one_another(rules: Governance) -> None:
    kills = [await rules.kill() for _ in range(8)]
    said = await asyncio.gather(*(refusal(rules.approve(kill.rule_version)) for kill in kills))
    assert set(said) == {""}
    rows = await rules.ledger.rows("SELECT active_from, active_to FROM rule_proposals ORDER BY active_from")
    assert [row["active_to"] for row in rows[:-1]] == [row["active_from"] for row in rows[1:]]
    assert await rules.ledger.value("SELECT count(*) FROM rule_proposals WHERE state = 4") == 1


async def test_two_replicas_of_the_job_activate_a_rule_once(
    dsn: str, referral: RunningReferral, ledger: Ledger, rules: Governance
) -> None:
    await rules.cooling()
    async with ledger_running(dsn, referral) as other:
        for replica in (ledger, other):
            replica.clock.advance(WEEK)
        jobs = [
            job
            for replica in (ledger, other)
            for job in all_jobs(replica.postgres, replica.clock, settings())
            if job.name == "activate_rules"
        ]
        await asyncio.gather(*(job.run(ledger.clock.now()) for job in jobs * 8))
    assert [state for _, state in await rules.told()].count("ACTIVE") == 1
    assert await rules.active() == 2


async def test_while_64_callers_finalize_through_two_writers_no_charge_gets_past_an_activation(
    dsn: str, referral: RunningReferral, ledger: Ledger, rules: Governance
) -> None:
    """Half of them are ahead of the clock: whatever a charge's time is, its rule is the one in force at that time."""
    await referral.refer("payer", later(days=-3))
    await rules.kill()
    stop = asyncio.Event()

    async def pour(replica: Ledger, number: int) -> None:
        place = after = 0
        # Whoever is quicker, some charges come before the change and some after it.
        while after < 4:
            after += stop.is_set()
            place += 1
            at = replica.clock.now() + (number % 2) * timedelta(microseconds=7 * number + place)
            await replica.finalize(charge(finalized_at=at))
            replica.clock.advance(MICROSECOND)

    async def poured() -> bool:
        return await ledger.count() >= 300

    async def change() -> None:
        await eventually(poured, within=30)
        await rules.approve(2)
        stop.set()

    async with ledger_running(dsn, referral) as other, asyncio.TaskGroup() as group:
        await asyncio.gather(ledger.finalize(charge()), other.finalize(charge()))
        for number in range(64):
            group.create_task(pour((ledger, other)[number % 2], number))
        group.create_task(change())
    wrong = await ledger.value(
        """
        SELECT count(*) FROM distributions, (SELECT active_from FROM rules WHERE rule_version = 2) AS next
        WHERE rule_version <> CASE WHEN finalized_at >= active_from THEN 2 ELSE 1 END
        """
    )
    counts = await ledger.rows("SELECT rule_version, count(*) AS n FROM distributions GROUP BY 1")
    assert wrong == 0
    assert {row["rule_version"] for row in counts} == {1, 2}


async def test_what_if_tells_who_would_gain_and_who_would_lose(ledger: Ledger, rules: Governance) -> None:
    big = await ledger.referral.refer("payer", later(days=-3), "big")
    small = await ledger.referral.refer("other", later(days=-3), "small")
    await ledger.finalize(charge("a", revenue_micro=1_000_000))
    await ledger.finalize(charge("b", "other", 333))
    await ledger.finalize(charge("c", "organic", 77_777))
    await ledger.finalize(charge("d", promotional_micro=100_000))
    await ledger.finalize(charge("thin", provider_cost_micro=99_999))
    await ledger.finalize(charge("outside", finalized_at=later(hours=-2)))
    before = await ledger.balances()
    same = await rules.simulate(NOW, later(hours=1), rule_version=1)
    assert (same.charges, same.revenue_micro) == (5, 1_278_110)
    for party in (same.referrers, same.commons, same.communities, same.foundation):
        assert party.difference_micro == 0
        assert party.actual_micro == party.simulated_micro
    assert list(same.losers) == []
    half = await rules.simulate(NOW, later(hours=1), rates=rates(500, 500, 7000, 2500))
    assert (half.referrers.actual_micro, half.referrers.simulated_micro) == (100_033, 50_016)
    assert [(each.account_ref, each.shares.difference_micro) for each in half.losers] == [(big, -50_000), (small, -17)]
    parties = (half.referrers, half.commons, half.communities, half.foundation)
    assert sum(party.difference_micro for party in parties) == 0
    none = await rules.simulate(NOW, later(hours=1), rates=rates(0), losers=1)
    assert (none.referrers.simulated_micro, len(none.losers)) == (0, 1)
    empty = await rules.simulate(later(days=1), later(days=2), rates=rates())
    assert (empty.charges, empty.foundation.actual_micro) == (0, 0)
    assert await ledger.balances() == before


async def test_what_if_gives_back_what_a_kill_switch_took(ledger: Ledger, rules: Governance) -> None:
    await ledger.referral.refer("payer", later(days=-3))
    await rules.kill()
    await rules.approve(2)
    for cost in (0, 70_000, 70_001):
        assert await ledger.try_finalize(charge(provider_cost_micro=cost)) == "RATE_ZERO"
    # The third is under the margin's floor, whatever the rates are.
    found = await rules.simulate(NOW, later(hours=1), rule_version=1)
    assert (found.referrers.actual_micro, found.referrers.simulated_micro) == (0, 20_000)
    assert (await rules.simulate(NOW, later(hours=1), rule_version=2)).referrers.difference_micro == 0
