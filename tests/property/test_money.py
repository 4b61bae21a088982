from contextlib import suppress
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from libs.money import BPS, MAX_MICRO, InvalidAmount, Rates, largest_remainder, parse_micro, split

amounts = st.integers(0, MAX_MICRO)


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    referrer = draw(st.integers(0, 5000))
    first, second = sorted((draw(st.integers(0, BPS)), draw(st.integers(0, BPS))))
    return Rates(referrer, first, second - first, BPS - second)


@given(amounts, rates())
def test_no_micro_is_made_or_lost(revenue: int, rule: Rates) -> None:
    for shares in (split(revenue, rule, referred=True), split(revenue, rule, referred=False)):
        parts = (shares.referrer_micro, shares.commons_micro, shares.community_micro, shares.foundation_micro)
        assert sum(parts) == revenue
        assert min(parts) >= 0


@given(amounts, rates())
def test_every_share_is_its_exact_part_rounded_down_and_the_foundation_owns_the_rest(revenue: int, rule: Rates) -> None:
    shares = split(revenue, rule, referred=True)
    rest = revenue - shares.referrer_micro
    assert 0 <= Fraction(revenue * rule.referrer_bps, BPS) - shares.referrer_micro < 1
    assert 0 <= Fraction(rest * rule.commons_bps, BPS) - shares.commons_micro < 1
    assert 0 <= Fraction(rest * rule.community_bps, BPS) - shares.community_micro < 1
    assert 0 <= shares.foundation_micro - Fraction(rest * rule.foundation_bps, BPS) < 2


@given(amounts, rates())
def test_without_a_referrer_the_rule_is_as_with_a_referrer_rate_of_nothing(revenue: int, rule: Rates) -> None:
    nothing = Rates(0, rule.commons_bps, rule.community_bps, rule.foundation_bps)
    assert split(revenue, rule, referred=False) == split(revenue, nothing, referred=True)


weights = st.dictionaries(
    st.text("abcdef0123456789", min_size=1, max_size=8),
    st.one_of(st.integers(0, 5), st.integers(0, 10**30)),
    min_size=1,
    max_size=60,
).filter(lambda each: sum(each.values()) > 0)


@given(amounts, weights)
def test_parts_sum_to_the_pool_and_each_is_within_one_micro_of_its_exact_share(
    pool: int, claims: dict[str, int]
) -> None:
    parts = largest_remainder(pool, claims)
    total = sum(claims.values())
    assert sum(parts.values()) == pool
    assert list(parts) == list(claims)
    assert all(abs(parts[each] - Fraction(pool * claims[each], total)) < 1 for each in claims)


@given(st.integers(0, 10**6), weights)
def test_whoever_weighs_more_never_gets_less(pool: int, claims: dict[str, int]) -> None:
    parts = largest_remainder(pool, claims)
    ranked = sorted(claims, key=lambda each: (-claims[each], each))
    assert all(parts[first] >= parts[second] for first, second in pairwise(ranked))


@given(amounts, weights, st.randoms(use_true_random=False))
def test_the_order_of_the_claims_changes_nothing(pool: int, claims: dict[str, int], random: object) -> None:
    names = list(claims)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert largest_remainder(pool, {name: claims[name] for name in names}) == largest_remainder(pool, claims)


@given(amounts)
def test_an_amount_survives_its_own_spelling(amount: int) -> None:
    assert parse_micro(str(amount)) == parse_micro(amount) == amount


@given(st.one_of(st.text(max_size=20), st.text("0123456789+-eE. _", max_size=18)))
def test_whatever_is_accepted_is_spelled_in_the_one_way(text: str) -> None:
    spelled = text
    with suppress(InvalidAmount):
        spelled = str(parse_micro(text))
    assert spelled == text
