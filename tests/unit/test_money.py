import pytest

from libs.money import MAX_MICRO, InvalidAmount, InvalidRates, Rates, Split, largest_remainder, parse_micro, split

INITIAL = Rates(referrer_bps=1000, commons_bps=500, community_bps=7000, foundation_bps=2500)

# revenue │ with a referrer: referrer, commons, community, foundation │ organic: commons, community, foundation
TABLE = [
    (0, (0, 0, 0, 0), (0, 0, 0)),
    (1, (0, 0, 0, 1), (0, 0, 1)),
    (7, (0, 0, 4, 3), (0, 4, 3)),
    (99, (9, 4, 63, 23), (4, 69, 26)),
    (33_333, (3_333, 1_500, 21_000, 7_500), (1_666, 23_333, 8_334)),
    (100_000, (10_000, 4_500, 63_000, 22_500), (5_000, 70_000, 25_000)),
    (7_777_777, (777_777, 350_000, 4_900_000, 1_750_000), (388_888, 5_444_443, 1_944_446)),
    (123_456_789, (12_345_678, 5_555_555, 77_777_777, 27_777_779), (6_172_839, 86_419_752, 30_864_198)),
]


@pytest.mark.parametrize(("revenue", "referred", "organic"), TABLE)
def test_the_split_is_right_to_the_micro(
    revenue: int, referred: tuple[int, int, int, int], organic: tuple[int, int, int]
) -> None:
    assert split(revenue, INITIAL, referred=True) == Split(*referred)
    assert split(revenue, INITIAL, referred=False) == Split(0, *organic)


@pytest.mark.parametrize("revenue", [-1, MAX_MICRO + 1, 1.0, True, "1", None])
def test_only_a_whole_amount_within_bounds_is_split(revenue: object) -> None:
    with pytest.raises(InvalidAmount):
        split(revenue, INITIAL, referred=True)  # type: ignore[arg-type]


def test_the_largest_amount_is_split_without_loss() -> None:
    shares = split(MAX_MICRO, INITIAL, referred=True)
    assert shares == Split(10**14, 45 * 10**12, 630 * 10**12, 225 * 10**12)


@pytest.mark.parametrize(
    "rates",
    [
        (-1, 500, 7000, 2500),
        (5001, 500, 7000, 2500),
        (1000, 500, 7000, 2499),
        (1000, 500, 7000, 2501),
        (1000, -500, 8000, 2500),
    ],
)
def test_rates_that_do_not_add_up_are_refused(rates: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidRates):
        Rates(*rates)


@pytest.mark.parametrize("rates", [(0, 0, 0, 10_000), (5000, 10_000, 0, 0), (1000, 500, 7000, 2500)])
def test_rates_at_their_limits_are_accepted(rates: tuple[int, int, int, int]) -> None:
    shares = split(99, Rates(*rates), referred=True)
    assert shares.referrer_micro + shares.commons_micro + shares.community_micro + shares.foundation_micro == 99


# pool │ weights │ parts
DIVISIONS: list[tuple[int, dict[str, int], dict[str, int]]] = [
    (0, {}, {}),
    (0, {"a": 0, "b": 3}, {"a": 0, "b": 0}),
    (10, {"a": 1}, {"a": 10}),
    (10, {"b": 1, "a": 1, "c": 1}, {"a": 4, "b": 3, "c": 3}),  # a tie goes to the smaller id
    (3, {"a": 1, "b": 1, "c": 4}, {"a": 1, "b": 0, "c": 2}),  # all remainders 1/2 but c's, which is none
    (1, {"a": 1, "b": 3}, {"a": 0, "b": 1}),
    (2, {"a": 1, "b": 5, "c": 2}, {"a": 0, "b": 1, "c": 1}),
    (2, {"a": 1, "b": 3}, {"a": 0, "b": 2}),  # equal remainders: the larger weight
    (100, {"a": 0, "b": 7}, {"a": 0, "b": 100}),
    (7, {"a": 10**30, "b": 10**30 - 1, "c": 1}, {"a": 4, "b": 3, "c": 0}),
]


@pytest.mark.parametrize(("pool", "weights", "parts"), DIVISIONS)
def test_a_pool_is_divided_by_largest_remainder(pool: int, weights: dict[str, int], parts: dict[str, int]) -> None:
    assert largest_remainder(pool, weights) == parts


@pytest.mark.parametrize(("pool", "weights"), [(-1, {"a": 1}), (1, {"a": -1, "b": 2}), (1, {}), (1, {"a": 0})])
def test_a_pool_that_cannot_be_divided_is_an_error(pool: int, weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weight"):
        largest_remainder(pool, weights)


@pytest.mark.parametrize(("value", "amount"), [("0", 0), (0, 0), ("1", 1), (str(10**15), 10**15), (10**15, 10**15)])
def test_an_amount_is_a_decimal_string_or_an_integer(value: object, amount: int) -> None:
    assert parse_micro(value) == amount


@pytest.mark.parametrize(
    "value",
    [
        1.0, 1e3, float("nan"), float("inf"), True, False, None, [], {}, b"1", -1, 10**15 + 1, 10**40,
        "", " ", " 1", "1 ", "1\n", "+1", "-1", "-0", "01", "00", "1.0", "1e3", "1_000", "1,000", "0x1", "NaN",
        "\u0661", "\u00b2", "\uff11", str(10**15 + 1), "9" * 16, "9" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_no_amount(value: object) -> None:
    with pytest.raises(InvalidAmount):
        parse_micro(value)


def test_a_refused_amount_names_its_field() -> None:
    with pytest.raises(InvalidAmount) as refused:
        parse_micro("1e3", field="revenue_micro")
    assert refused.value.data == {"field": "revenue_micro"}
