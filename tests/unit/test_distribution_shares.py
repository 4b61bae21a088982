"""Which rule applies to a charge, and who gets what of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.money import MAX_MICRO, Rates
from services.distribution.model import Attribution, Charge, ReferrerOutcome, Rule
from services.distribution.rules.shares import decide, margin_below_floor, months_later, rule_at
from tests.support.distribution import NOW, charge

MICROSECOND = timedelta(microseconds=1)
RULE = Rule(1, Rates(1000, 500, 7000, 2500), 3000, datetime.min.replace(tzinfo=UTC))
REGISTERED = NOW - timedelta(days=30)


def referred(registered_at: datetime = REGISTERED) -> Attribution:
    return Attribution("payer-ref", "creator-ref", registered_at, months_later(registered_at, 12))


ORGANIC = Attribution("payer-ref", None, REGISTERED, months_later(REGISTERED, 12))


@pytest.mark.parametrize(
    ("revenue_micro", "with_referrer", "organic"),
    [
        (1, (0, 0, 0, 1), (0, 0, 1)),
        (7, (0, 0, 4, 3), (0, 4, 3)),
        (99, (9, 4, 63, 23), (4, 69, 26)),
        (33_333, (3333, 1500, 21000, 7500), (1666, 23333, 8334)),
        (100_000, (10000, 4500, 63000, 22500), (5000, 70000, 25000)),
        (7_777_777, (777777, 350000, 4900000, 1750000), (388888, 5444443, 1944446)),
        (123_456_789, (12345678, 5555555, 77777777, 27777779), (6172839, 86419752, 30864198)),
    ],
)
def test_the_table_of_the_design_to_the_micro(
    revenue_micro: int, with_referrer: tuple[int, ...], organic: tuple[int, ...]
) -> None:
    one = charge(revenue_micro=revenue_micro, provider_cost_micro=0)
    assert shares(one, referred()) == with_referrer
    assert shares(one, ORGANIC) == (0, *organic)


def test_the_shares_of_a_billion_dollars_are_exact() -> None:
    one = charge(revenue_micro=MAX_MICRO, provider_cost_micro=0)
    assert shares(one, referred()) == (10**14, 45 * 10**12, 63 * 10**13, 225 * 10**12)


def test_only_real_money_is_split() -> None:
    one = charge(revenue_micro=200_000, promotional_micro=100_000, provider_cost_micro=0)
    assert shares(one, referred()) == (10000, 4500, 63000, 22500)


@pytest.mark.parametrize(
    ("changed", "attribution", "rule", "outcome"),
    [
        ({}, referred(), RULE, "ATTRIBUTED"),
        ({}, ORGANIC, RULE, "ORGANIC"),
        ({"promotional_micro": 50_000}, referred(), RULE, "ATTRIBUTED"),
        ({"promotional_micro": 100_000}, referred(), RULE, "PROMOTIONAL"),
        ({"finalized_at": REGISTERED - MICROSECOND}, referred(), RULE, "BEFORE_WINDOW"),
        ({"finalized_at": REGISTERED}, referred(), RULE, "ATTRIBUTED"),
        ({"finalized_at": months_later(REGISTERED, 12) - MICROSECOND}, referred(), RULE, "ATTRIBUTED"),
        ({"finalized_at": months_later(REGISTERED, 12)}, referred(), RULE, "WINDOW_ENDED"),
        ({"provider_cost_micro": 70_000}, referred(), RULE, "ATTRIBUTED"),
        ({"provider_cost_micro": 70_001}, referred(), RULE, "MARGIN_FLOOR"),
        ({"provider_cost_micro": 10**15}, referred(), RULE, "MARGIN_FLOOR"),
        ({}, referred(), Rule(2, Rates(0, 500, 7000, 2500), 3000, NOW), "RATE_ZERO"),
        # From the most general reason to the most particular.
        ({"promotional_micro": 100_000}, ORGANIC, RULE, "PROMOTIONAL"),
        ({"provider_cost_micro": 10**15}, ORGANIC, RULE, "ORGANIC"),
        ({"provider_cost_micro": 10**15, "finalized_at": NOW + timedelta(days=999)}, referred(), RULE, "WINDOW_ENDED"),
        ({"provider_cost_micro": 10**15}, referred(), Rule(2, Rates(0, 500, 7000, 2500), 3000, NOW), "RATE_ZERO"),
    ],
)
def test_why_the_referrer_gets_its_share_or_not(
    changed: dict[str, Any], attribution: Attribution, rule: Rule, outcome: str
) -> None:
    one = charge()._replace(**changed)
    decision = decide(one, attribution, rule)
    split = decision.split
    assert decision.referrer_outcome is ReferrerOutcome[outcome]
    assert decision.rule_version == rule.rule_version
    assert (split.referrer_micro > 0) == (outcome == "ATTRIBUTED")
    total = split.referrer_micro + split.commons_micro + split.community_micro + split.foundation_micro
    assert total == one.paid_micro


def test_without_a_share_for_the_referrer_the_split_is_the_organic_one() -> None:
    poor = charge(provider_cost_micro=90_000)
    assert shares(poor, referred()) == shares(poor, ORGANIC)


def test_the_margin_is_judged_on_the_gross_revenue() -> None:
    """Of 200,000 half is promotional: a cost of 100,000 is half of the gross and all of the rest."""
    one = charge(revenue_micro=200_000, promotional_micro=100_000, provider_cost_micro=100_000)
    assert decide(one, referred(), RULE).referrer_outcome is ReferrerOutcome.ATTRIBUTED


@pytest.mark.parametrize(
    ("revenue_micro", "cost_micro", "below"),
    [
        (1, 0, False),
        (1, 1, True),
        (10, 7, False),
        (10, 8, True),
        (MAX_MICRO, 7 * 10**14, False),
        (MAX_MICRO, 7 * 10**14 + 1, True),
    ],
)
def test_the_margin_floor_is_exact(revenue_micro: int, cost_micro: int, *, below: bool) -> None:
    assert margin_below_floor(revenue_micro, cost_micro, 3000) is below


@pytest.mark.parametrize(
    ("registered", "end"),
    [
        ("2025-03-01T12:00:00.000001+00:00", "2026-03-01T12:00:00.000001+00:00"),
        ("2024-02-29T23:59:59.999999+00:00", "2025-02-28T23:59:59.999999+00:00"),
        ("2023-02-28T00:00:00+00:00", "2024-02-28T00:00:00+00:00"),
        ("2025-12-31T00:00:00+00:00", "2026-12-31T00:00:00+00:00"),
    ],
)
def test_a_year_later_is_the_same_day_and_a_leap_day_becomes_the_28th(registered: str, end: str) -> None:
    assert months_later(datetime.fromisoformat(registered), 12) == datetime.fromisoformat(end)


def test_months_wrap_into_the_next_year_and_clamp() -> None:
    assert months_later(datetime(2025, 11, 30, tzinfo=UTC), 3) == datetime(2026, 2, 28, tzinfo=UTC)
    assert months_later(datetime(2025, 1, 31, tzinfo=UTC), 1) == datetime(2025, 2, 28, tzinfo=UTC)


def test_the_rule_is_the_one_in_force_at_that_instant() -> None:
    later = Rule(2, Rates(0, 500, 7000, 2500), 3000, NOW)
    rules = (RULE, later)
    assert rule_at(rules, NOW - MICROSECOND) is RULE
    assert rule_at(rules, NOW) is later
    assert rule_at(rules, NOW + timedelta(days=900)) is later
    assert rule_at(rules, datetime(1970, 1, 1, tzinfo=UTC)) is RULE


def shares(one: Charge, attribution: Attribution) -> tuple[int, int, int, int]:
    split = decide(one, attribution, RULE).split
    return split.referrer_micro, split.commons_micro, split.community_micro, split.foundation_micro
