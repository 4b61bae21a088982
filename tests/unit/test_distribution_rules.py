"""States of a rule, instants of a change, tiers judged, and what may be asked."""

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.money import Rates
from libs.refusals import Refusal
from services.distribution.model import Attribution, Interval, ReferrerOutcome, Rule, Terms
from services.distribution.model.governance import Former, Proposal, RuleState
from services.distribution.model.margins import TierHour, Verdicts
from services.distribution.rules import governance, margins, whatif
from services.distribution.rules.shares import decide_by, is_within
from tests.support.distribution import NOW, charge, later

WEEK = timedelta(days=7)
MICROSECOND = timedelta(microseconds=1)
RULE = Proposal(2, RuleState.DRAFT, Rates(800, 500, 7000, 2500), False, WEEK, "ann", None, "why", NOW)
TERMS = Rule(1, Rates(1000, 500, 7000, 2500), 3000, datetime.min.replace(tzinfo=UTC))
REFERRED = Attribution("payer-ref", "creator-ref", later(days=-3), later(days=300))


def reason(call: Callable[[], object]) -> str:
    try:
        call()
    except Refusal as refusal:
        return refusal.reason
    return ""


@pytest.mark.parametrize(
    ("state", "next_states"),
    [
        ("DRAFT", "PENDING_APPROVAL"),
        ("PENDING_APPROVAL", "COOLING_DOWN ACTIVE REJECTED"),
        ("COOLING_DOWN", "ACTIVE REJECTED"),
        ("ACTIVE", "SUPERSEDED"),
        ("SUPERSEDED", ""),
        ("REJECTED", ""),
    ],
)
def test_a_rule_goes_one_way(state: str, next_states: str) -> None:
    rule = replace(RULE, state=RuleState[state])
    reached = [
        to.name
        for to in set(RuleState) - {RuleState.DRAFT}
        if not reason(functools.partial(governance.moved, rule, to))
    ]
    assert sorted(reached) == sorted(next_states.split())


def test_approval_takes_another_operator_and_starts_the_cooling() -> None:
    pending = replace(RULE, state=RuleState.PENDING_APPROVAL)
    for herself in ("ann", "Ann", " ANN "):
        assert reason(functools.partial(governance.approved, pending, herself, NOW)) == "RULE_NEEDS_SECOND"
    assert reason(lambda: governance.approved(RULE, "bob", NOW)) == "RULE_STATE_WRONG"
    cooling = governance.approved(pending, "bob", NOW)
    assert (cooling.state, cooling.decided_by) == (RuleState.COOLING_DOWN, "bob")
    assert cooling.cools_down_until == NOW + WEEK
    kill = governance.approved(replace(pending, kill_switch=True), "bob", NOW)
    assert (kill.state, kill.cools_down_until) == (RuleState.PENDING_APPROVAL, None)


def test_a_kill_switch_ends_accrual_and_takes_the_other_rates_of_the_rule_it_ends() -> None:
    active = replace(RULE, state=RuleState.ACTIVE, rates=Rates(1000, 1000, 1000, 8000))
    kill = replace(RULE, state=RuleState.PENDING_APPROVAL, kill_switch=True, rates=Rates(0, 500, 7000, 2500))
    assert governance.activated(kill, active, NOW).rates == Rates(0, 1000, 1000, 8000)
    plain = replace(RULE, state=RuleState.COOLING_DOWN)
    assert governance.activated(plain, active, NOW).rates == RULE.rates


@pytest.mark.parametrize(
    ("last_charge", "former", "expected"),
    [
        (None, -1, 0),
        (0, -1, 1),
        (7, -1, 8),
        (None, 0, 1),
        (3, 9, 10),
        (9, 3, 10),
    ],
)
def test_a_rule_applies_after_every_charge_that_was_decided_without_it(
    last_charge: int | None, former: int, expected: int
) -> None:
    last = None if last_charge is None else NOW + last_charge * MICROSECOND
    found = governance.next_active_from(NOW, last, Former(NOW + former * MICROSECOND, 3000))
    assert found == NOW + expected * MICROSECOND


@pytest.mark.parametrize(
    ("days", "expected"), [(0, 7), (7, 7), (8, 8), (365, 365), (6, None), (1, None), (-1, None), (366, None)]
)
def test_a_rule_cools_down_for_at_least_a_week(days: int, expected: int | None) -> None:
    if expected is None:
        assert reason(lambda: governance.check_cooling(days, WEEK)) == "COOLING_INVALID"
    else:
        assert governance.check_cooling(days, WEEK) == timedelta(days=expected)


def test_a_deployment_may_ask_for_more_than_a_week() -> None:
    assert governance.check_cooling(0, 2 * WEEK) == 2 * WEEK
    assert reason(lambda: governance.check_cooling(13, 2 * WEEK)) == "COOLING_INVALID"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: governance.check_version(0), "RULE_VERSION_INVALID"),
        (lambda: governance.check_version(-1), "RULE_VERSION_INVALID"),
        (lambda: governance.check_states([7]), "RULE_STATES_INVALID"),
        (lambda: governance.check_states([0]), "RULE_STATES_INVALID"),
        (lambda: governance.check_states([1, 1]), "RULE_STATES_INVALID"),
        (lambda: governance.check_states([1, 6]), ""),
        (lambda: governance.check_page(-1, "", 100), "RULE_PAGE_INVALID"),
        (lambda: governance.check_page(101, "", 100), "RULE_PAGE_INVALID"),
        (lambda: governance.check_page(1, "x", 100), "RULE_PAGE_INVALID"),
        (lambda: governance.check_page(1, "9" * 19, 100), "RULE_PAGE_INVALID"),
        (lambda: governance.check_page(1, "²", 100), "RULE_PAGE_INVALID"),
        (lambda: margins.check_tier("x" * 65), "TIER_INVALID"),
        (lambda: margins.check_tier("\n"), "TIER_INVALID"),
        (lambda: margins.check_tier(""), ""),
        (lambda: whatif.check_period(None, NOW), "SIMULATED_PERIOD_INVALID"),
        (lambda: whatif.check_period(NOW, None), "SIMULATED_PERIOD_INVALID"),
        (lambda: whatif.check_period(NOW, NOW), "SIMULATED_PERIOD_INVALID"),
        (lambda: whatif.check_period(NOW, later(days=366, seconds=1)), "SIMULATED_PERIOD_INVALID"),
        (lambda: whatif.check_period(NOW, later(days=366)), ""),
        (lambda: whatif.check_losers(101), "LOSERS_OUT_OF_RANGE"),
        (lambda: whatif.check_losers(-1), "LOSERS_OUT_OF_RANGE"),
    ],
)
def test_what_cannot_be_asked_is_refused(call: Callable[[], object], expected: str) -> None:
    assert reason(call) == expected


@pytest.mark.parametrize(
    ("hours", "suspended", "expected"),
    [
        ([], [], ({}, [])),
        ([TierHour("a", 10, 7)], [], ({}, [])),
        ([TierHour("a", 10_000, 7_001)], [], ({"a": 2999}, [])),
        ([TierHour("a", 10_000, 7_001)], ["a"], ({}, [])),
        ([TierHour("a", 10, 7)], ["a"], ({}, ["a"])),
        # Nobody used it for an hour.
        ([], ["a"], ({}, ["a"])),
        ([TierHour("a", 3, 9), TierHour("b", 3, 0)], ["b"], ({"a": -20_000}, ["b"])),
        # A charge that names no tier is judged for itself.
        ([TierHour("", 1, 10**15)], [], ({}, [])),
        # The worst that can be: what does not fit is the least that fits.
        ([TierHour("a", 1, 10**15)], [], ({"a": -(2**31)}, [])),
    ],
)
def test_a_tier_is_suspended_under_the_floor_and_resumes_at_it(
    hours: list[TierHour], suspended: list[str], expected: tuple[dict[str, int], list[str]]
) -> None:
    assert margins.judge(hours, suspended, 3000) == Verdicts(expected[0], frozenset(expected[1]))


def test_only_the_judgement_that_is_due_now_is_made() -> None:
    assert not margins.is_stale(NOW, NOW)
    assert not margins.is_stale(NOW, NOW + margins.EVERY - MICROSECOND)
    assert margins.is_stale(NOW, NOW + margins.EVERY)


@pytest.mark.parametrize(
    ("minutes", "within"), [(-1, False), (0, True), (4, True), (5, False), (9, False), (10, True), (999, True)]
)
def test_an_interval_has_its_first_instant_and_not_its_last(minutes: int, *, within: bool) -> None:
    intervals = [Interval(NOW, later(minutes=5)), Interval(later(minutes=10), None)]
    assert is_within(intervals, later(minutes=minutes)) is within
    assert not is_within([], NOW)


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "TIER_SUSPENDED"),
        ({"model_tier": "premium"}, "ATTRIBUTED"),
        ({"finalized_at": later(microseconds=-1)}, "ATTRIBUTED"),
        ({"provider_cost_micro": 10**15}, "TIER_SUSPENDED"),
        ({"promotional_micro": 100_000}, "PROMOTIONAL"),
        ({"finalized_at": later(days=400)}, "WINDOW_ENDED"),
    ],
)
def test_a_suspension_applies_by_tier_and_time_of_the_charge(changed: dict[str, Any], outcome: str) -> None:
    terms = Terms((TERMS,), {"standard": [Interval(NOW, None)]})
    decision = decide_by(terms, charge()._replace(**changed), REFERRED)
    assert decision.referrer_outcome is ReferrerOutcome[outcome]
    if outcome == "TIER_SUSPENDED":
        organic = decide_by(Terms((TERMS,), {}), charge(), replace(REFERRED, referrer_ref=None))
        assert decision.split == organic.split


def test_a_rate_of_zero_is_more_general_than_a_suspension() -> None:
    zero = replace(TERMS, rule_version=2, rates=Rates(0, 500, 7000, 2500))
    terms = Terms((zero,), {"standard": [Interval(NOW, None)]})
    assert decide_by(terms, charge(), REFERRED).referrer_outcome is ReferrerOutcome.RATE_ZERO
