"""Rules of grants, credits and the score pool, as tables."""

from datetime import UTC, date, datetime

import pytest

from libs import periods
from libs.refusals import Refusal
from services.distribution.model.campaigns import Grant, Lot, StagedLot
from services.distribution.rules import credits as credit_rules
from services.distribution.rules import grants, score_pool

T = datetime(2026, 3, 1, tzinfo=UTC)
SOMEBODY = "00000000-0000-0000-0000-000000000001"


def lot(name: str, remaining_micro: int, pool: str = "referral:signup") -> Lot:
    return Lot(name, pool, f"grant of {name}", 100, remaining_micro, T)


@pytest.mark.parametrize(
    ("remaining", "up_to", "taken"),
    [
        ((), 5, []),
        ((3,), 5, [3]),
        ((5,), 5, [5]),
        ((7,), 5, [5]),
        ((2, 2, 2), 5, [2, 2, 1]),
        ((2, 3, 9), 5, [2, 3]),
        ((1, 1), 10**15, [1, 1]),
    ],
)
def test_lots_are_taken_from_in_their_order(remaining: tuple[int, ...], up_to: int, taken: list[int]) -> None:
    lots = [lot(str(number), micro) for number, micro in enumerate(remaining)]
    slices = credit_rules.take(lots, up_to)
    assert [part.amount_micro for part in slices] == taken
    assert [part.lot_id for part in slices] == [str(number) for number in range(len(taken))]


def test_slices_are_summed_by_pool() -> None:
    lots = [lot("a", 1, "score:rewards"), lot("b", 2), lot("c", 4, "score:rewards")]
    assert credit_rules.by_pool(credit_rules.take(lots, 7)) == {"referral:signup": 2, "score:rewards": 5}


@pytest.mark.parametrize(
    ("name", "first", "after"),
    [
        ("2026-11", date(2026, 11, 1), date(2026, 12, 1)),
        ("2026-12", date(2026, 12, 1), date(2027, 1, 1)),
        ("2024-02", date(2024, 2, 1), date(2024, 3, 1)),
        ("2026-W47", date(2026, 11, 16), date(2026, 11, 23)),
        ("2026-W01", date(2025, 12, 29), date(2026, 1, 5)),
        ("2026-W53", date(2026, 12, 28), date(2027, 1, 4)),
    ],
)
def test_a_period_is_a_month_or_an_iso_week(name: str, first: date, after: date) -> None:
    assert periods.read_period(name) == (name, first, after)


@pytest.mark.parametrize("name", ["", "2026", "2026-13", "2025-W53", "9999-12", "2026-W", "2026-11 ", "+026-11"])
def test_nothing_else_is_a_period(name: str) -> None:
    with pytest.raises(periods.PeriodInvalid):
        periods.read_period(name)


def test_a_period_is_over_at_the_first_instant_after_it() -> None:
    november = periods.read_period("2026-11")
    periods.check_over(november, datetime(2026, 12, 1, tzinfo=UTC))
    with pytest.raises(periods.PeriodNotOver):
        periods.check_over(november, datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC))


@pytest.mark.parametrize(
    ("net", "bps", "held", "funded"),
    [
        (1_000, 1_000, 10**9, 100),
        (9, 1_000, 10**9, 0),
        (19, 1_000, 10**9, 1),
        (-1_000, 1_000, 10**9, 0),
        (1_000, 1_000, 99, 99),
        (1_000, 1_000, -5, 0),
        (1_000, 0, 10**9, 0),
        (1_000, 10_000, 10**9, 1_000),
    ],
)
def test_the_pool_gets_its_part_and_never_what_is_not_there(net: int, bps: int, held: int, funded: int) -> None:
    assert score_pool.funding(net, bps, held) == funded


@pytest.mark.parametrize(
    ("available", "wanted", "will_do", "reserved"),
    [(100, 60, "all", 60), (100, 100, "all", 100), (100, 101, "less", 100), (1, 101, "less", 1)],
)
def test_what_is_wanted_is_reserved_or_what_there_is(available: int, wanted: int, will_do: str, reserved: int) -> None:
    assert grants.reserve_up_to(available, wanted, accept_less=will_do == "less") == reserved


@pytest.mark.parametrize(("available", "will_do"), [(99, "all"), (0, "less"), (0, "all")])
def test_less_than_wanted_is_refused_unless_it_will_do(available: int, will_do: str) -> None:
    with pytest.raises(Refusal) as refused:
        grants.reserve_up_to(available, 100, accept_less=will_do == "less")
    assert refused.value.reason == "BUDGET_EXHAUSTED"


def test_a_refusal_names_the_grant() -> None:
    with pytest.raises(grants.GrantAmountOutOfRange) as refused:
        grants.check_grants([Grant("fine", SOMEBODY, 1, ""), Grant("not fine", SOMEBODY, 0, "")])
    assert refused.value.data == {"field": "grants[1].amount_micro", "grant_id": "not fine"}


def test_a_surrogate_has_one_spelling() -> None:
    [grant] = grants.check_grants([Grant("g", SOMEBODY.upper().replace("-", ""), 1, "")])
    assert grant.account_ref == SOMEBODY


def test_a_staged_grant_that_is_there_must_be_the_same() -> None:
    there = StagedLot("g", SOMEBODY, 5, "lot", 1)
    grants.check_staged([there._replace(lot_id="another")], [there])
    with pytest.raises(grants.GrantMismatch):
        grants.check_staged([there._replace(amount_micro=6)], [there])
    with pytest.raises(grants.GrantAccountTwice):
        grants.check_staged([there._replace(grant_id="h")], [there])
