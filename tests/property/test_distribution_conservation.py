"""No micro-dollar is made or lost, whatever a charge looks like."""

import random
from datetime import timedelta
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.money import MAX_MICRO, Rates
from libs.refusals import Refusal
from services.distribution.model import Attribution, Charge, Part, ReferrerOutcome, Rule
from services.distribution.rules.charges import check_charge, fingerprint
from services.distribution.rules.shares import decide, months_later
from tests.support.distribution import NOW, charge

amounts = st.one_of(st.integers(0, 200), st.integers(0, 10**7), st.integers(0, MAX_MICRO))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    commons = draw(st.integers(0, 10_000))
    community = draw(st.integers(0, 10_000 - commons))
    rates = Rates(draw(st.integers(0, 5000)), commons, community, 10_000 - commons - community)
    return Rule(draw(st.integers(1, 99)), rates, draw(st.integers(0, 10_000)), NOW - timedelta(days=999))


@st.composite
def charges(draw: st.DrawFn) -> Charge:
    revenue = max(draw(amounts), 1)
    return charge(
        revenue_micro=revenue,
        promotional_micro=draw(st.one_of(st.just(0), st.just(revenue), st.integers(0, revenue))),
        provider_cost_micro=draw(amounts),
        finalized_at=NOW - draw(st.timedeltas(timedelta(0), timedelta(days=800))),
    )


@st.composite
def attributions(draw: st.DrawFn) -> Attribution:
    registered_at = NOW - draw(st.timedeltas(timedelta(0), timedelta(days=800)))
    return Attribution(
        "payer", draw(st.sampled_from([None, "creator"])), registered_at, months_later(registered_at, 12)
    )


def check_conserved(one: Charge, attribution: Attribution, rule: Rule) -> None:
    rule_version, outcome, split = decide(one, attribution, rule)
    parts = (split.referrer_micro, split.commons_micro, split.community_micro, split.foundation_micro)
    assert sum(parts) == one.paid_micro
    assert min(parts) >= 0
    assert rule_version == rule.rule_version
    # Nobody but the foundation gets more than its exact share, and nobody is short of it by a whole micro.
    rates = rule.rates
    referrer = one.paid_micro * Fraction(rates.referrer_bps, 10_000) if outcome is ReferrerOutcome.ATTRIBUTED else 0
    rest = one.paid_micro - split.referrer_micro
    exact = (referrer, *(rest * Fraction(bps, 10_000) for bps in (rates.commons_bps, rates.community_bps)))
    assert all(0 <= share - part < 1 for part, share in zip(parts, exact, strict=False))


@given(charges(), attributions(), rules())
def test_every_split_sums_to_what_was_paid(one: Charge, attribution: Attribution, rule: Rule) -> None:
    check_conserved(one, attribution, rule)


def test_ten_thousand_random_charges_are_conserved() -> None:
    chance = random.Random(20260301)
    rule = Rule(1, Rates(1000, 500, 7000, 2500), 3000, NOW - timedelta(days=999))
    total = shared = 0
    for _ in range(10_000):
        revenue = chance.randrange(1, 10 ** chance.randrange(1, 16))
        one = charge(
            "c",
            revenue_micro=revenue,
            promotional_micro=chance.choice([0, 0, chance.randrange(revenue + 1)]),
            provider_cost_micro=revenue * chance.randrange(100) // 100,
            finalized_at=NOW - timedelta(days=chance.randrange(500)),
        )
        registered_at = NOW - timedelta(days=chance.randrange(500))
        referrer = chance.choice([None, "creator"])
        attribution = Attribution("payer", referrer, registered_at, months_later(registered_at, 12))
        check_charge(one, NOW)
        check_conserved(one, attribution, rule)
        split = decide(one, attribution, rule).split
        total += one.paid_micro
        shared += split.referrer_micro + split.commons_micro + split.community_micro + split.foundation_micro
    assert total == shared


wild = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.just(10**15), st.just(10**15 + 1))
texts = st.text(max_size=140)
parts = st.lists(st.builds(Part, texts, wild), max_size=40).map(tuple)


@given(
    st.builds(
        Charge,
        inference_charge_id=texts,
        payer_account_id=texts,
        community_id=texts,
        revenue_micro=wild,
        promotional_micro=wild,
        provider_cost_micro=wild,
        model=texts,
        model_tier=texts,
        model_breakdown=parts,
        funding=parts,
        finalized_at=st.datetimes().map(lambda moment: moment.replace(tzinfo=NOW.tzinfo)),
    )
)
def test_whatever_is_sent_passes_or_is_refused_with_the_field_that_is_wrong(one: Charge) -> None:
    try:
        check_charge(one, NOW)
    except Refusal as refusal:
        wrong = refusal.data["field"].partition("[")[0]
    else:
        wrong = ""
    assert wrong in Charge._fields or 1 <= one.revenue_micro <= MAX_MICRO


@given(charges(), st.data())
def test_two_charges_that_differ_have_two_fingerprints(one: Charge, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["model", "model_tier", "payer_account_id", "community_id"]))
    value = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20))
    changed: dict[str, Any] = {field: value}
    other = one._replace(**changed)
    assert (fingerprint(one, b"key") == fingerprint(other, b"key")) == (one == other)
