"""What earns a bonus, and which moves a bonus may make."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.referral.model import Kind, Registration
from services.referral.model.bonuses import (
    Action,
    ActionKind,
    ActionOutcome,
    ActionSource,
    Bonus,
    BonusState,
    BonusTerms,
    Budget,
    ClearedBy,
    Purchase,
    Verdict,
)
from services.referral.rules import bonuses as rules
from services.referral.rules import codes as code_rules

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = BonusTerms()
REFEREE, REFERRER = uuid.uuid4(), uuid.uuid4()
BOUND = Registration(REFEREE, Kind.REFERRED, NOW, REFERRER, uuid.uuid4())
ACTION = Action(ActionSource.BILLING, ActionKind.CREDIT_PURCHASE, "order-1", REFEREE, 5_000_000, NOW)
BONUS = rules.bonus(uuid.uuid4(), ACTION, REFERRER, 0, now=NOW, terms=TERMS)
RESERVED = rules.reserved(BONUS, uuid.uuid4(), NOW)
CLEARED = rules.judged(RESERVED, Verdict(flagged=False, risk_score=0), NOW)
FLAGGED = rules.judged(RESERVED, Verdict(flagged=True, risk_score=3000), NOW)
SENT = rules.sent(CLEARED, NOW)
REFUND = Purchase("order-1", REFEREE, confirmed=True, net_paid_micro=0, refunded=True, changed_at=NOW)


@pytest.mark.parametrize(
    ("registration", "earlier", "net_micro", "outcome"),
    [
        (None, None, 10**9, ActionOutcome.ORGANIC),
        (Registration(REFEREE, Kind.ORGANIC, NOW), None, 10**9, ActionOutcome.ORGANIC),
        (BOUND, BONUS, 1, ActionOutcome.NOT_FIRST),
        (BOUND, None, 4_999_999, ActionOutcome.BELOW_MINIMUM),
        (BOUND, None, 5_000_000, ActionOutcome.BONUS),
    ],
)
def test_what_comes_of_an_action(
    registration: Registration | None, earlier: Bonus | None, net_micro: int, outcome: ActionOutcome
) -> None:
    assert rules.outcome(ACTION, net_micro, registration, earlier, TERMS) is outcome


def test_who_acted_before_it_was_bound_had_no_referrer() -> None:
    def outcome(before: timedelta) -> ActionOutcome:
        action = replace(ACTION, occurred_at=NOW - before)
        return rules.outcome(action, ACTION.paid_micro, BOUND, None, TERMS)

    assert outcome(TERMS.clock_skew) is ActionOutcome.BONUS
    assert outcome(TERMS.clock_skew + timedelta(microseconds=1)) is ActionOutcome.ORGANIC


def test_the_cap_denies_the_next_bonus_and_asks_for_no_budget() -> None:
    def made(earned: int) -> Bonus:
        return rules.bonus(BONUS.bonus_id, ACTION, REFERRER, earned, now=NOW, terms=TERMS)

    assert made(19) == BONUS
    assert (made(20).state, made(20).reason, made(20).budget) == (BonusState.DENIED, "REFERRER_CAP", Budget.NONE)


def test_a_denied_bonus_gives_its_budget_back_later_where_no_answer_came() -> None:
    asked, reserved = rules.denied(BONUS, "X", NOW), rules.denied(RESERVED, "X", NOW)
    assert (asked.budget, asked.next_try_at) == (Budget.RELEASING, NOW + rules.SETTLES_AFTER)
    assert (reserved.budget, reserved.next_try_at) == (Budget.RELEASING, None)
    assert rules.reserved(asked, uuid.uuid4(), NOW) is asked  # an answer that comes too late


@pytest.mark.parametrize("bonus", [SENT, rules.granted(SENT, uuid.uuid4(), NOW), rules.denied(RESERVED, "X", NOW)])
def test_what_is_decided_or_under_way_is_not_denied(bonus: Bonus) -> None:
    assert rules.denied(bonus, "Y", NOW) is bonus


def test_a_refund_denies_what_would_not_have_qualified_without_it() -> None:
    assert rules.refunded(RESERVED, REFUND, NOW, TERMS).reason == "REFUNDED"
    assert rules.refunded(RESERVED, replace(REFUND, net_paid_micro=5_000_000), NOW, TERMS) is RESERVED
    assert rules.refunded(RESERVED, replace(REFUND, account_ref=REFERRER), NOW, TERMS) is RESERVED
    waiting = rules.refunded(SENT, REFUND, NOW, TERMS)
    assert (waiting.state, waiting.refunded_at) == (BonusState.PENDING, NOW)
    assert rules.put_back(waiting, NOW, NOW).reason == "REFUNDED"
    assert rules.put_back(SENT, NOW, NOW).state is BonusState.PENDING


def test_a_flagged_bonus_moves_by_a_review_alone() -> None:
    assert (FLAGGED.state, FLAGGED.reason, FLAGGED.cleared_at) == (BonusState.WITHHELD, "FLAGGED", None)
    cleared = rules.reviewed(FLAGGED, cleared=True, reason="", now=NOW)
    assert (cleared.state, cleared.cleared_by) == (BonusState.WITHHELD, ClearedBy.REVIEW)
    denied = rules.reviewed(FLAGGED, cleared=False, reason="CONFIRMED", now=NOW)
    assert rules.reviewed(denied, cleared=True, reason="", now=NOW) is denied
    for bonus in (RESERVED, CLEARED, cleared, SENT):
        with pytest.raises(rules.BonusNotWithheld):
            rules.reviewed(bonus, cleared=True, reason="", now=NOW)


@pytest.mark.parametrize(
    ("bonus", "now"),
    [(BONUS, NOW + TERMS.hold), (RESERVED, NOW), (CLEARED, NOW + TERMS.hold), (FLAGGED, NOW + TERMS.hold)],
)
def test_a_bonus_is_checked_once_when_its_hold_is_over_and_its_budget_reserved(bonus: Bonus, now: datetime) -> None:
    assert not rules.is_due(bonus, now)
    assert rules.is_due(RESERVED, NOW + TERMS.hold)


@pytest.mark.parametrize(
    ("base", "link"),
    [
        ("https://a.example/join", "https://a.example/join?code=abcdefgh12&channel=x"),
        ("https://a.example/?page=join", "https://a.example/?page=join&code=abcdefgh12&channel=x"),
    ],
)
def test_a_share_link_holds_code_and_channel(base: str, link: str) -> None:
    assert code_rules.share_url(base, "abcdefgh12", "x") == link
