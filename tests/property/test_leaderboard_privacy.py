"""A creator that asks for every breakdown and adds and subtracts what it is told learns nothing of fewer than five."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import hypothesis.strategies as st
from hypothesis import given

from services.leaderboard.rules.breakdowns import OTHER, REFEREES_MIN, Contribution, Dimension, Part, shown, with_rest

Column = tuple[int, int]
"""A day and the number of a contribution on it: what one referee brought with one model."""


def referee(number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"referee {number}")


@st.composite
def days(draw: st.DrawFn) -> list[list[Contribution]]:
    """A few days of one creator: who came by which channel when, and which models each used."""
    people = draw(st.integers(1, 14))
    channels = [draw(st.sampled_from(["x", "discord", OTHER])) for _ in range(people)]
    cohorts = [draw(st.sampled_from(["2026-01", "2026-02"])) for _ in range(people)]
    made: list[list[Contribution]] = []
    for _ in range(draw(st.integers(1, 2))):
        used = draw(
            st.lists(
                st.tuples(st.integers(0, people - 1), st.sampled_from(["a", "b", "c", OTHER])),
                min_size=people,
                max_size=20,
                unique=True,
            )
        )
        made.append(
            [
                Contribution(referee(who), model, channels[who], cohorts[who], 1, draw(st.integers(1, 10**9)))
                for who, model in used
            ]
        )
    return made


def told(day: int, contributions: Sequence[Contribution]) -> list[frozenset[Column]]:
    """Every number of a day that a creator is told, as the set of what it sums up: parts, the rest, the total."""
    sums = [frozenset((day, number) for number in range(len(contributions)))]
    for dimension, parts in shown(contributions).items():
        names = {part.name for part in parts}
        by_name: dict[str, set[Column]] = defaultdict(set)
        for number, contribution in enumerate(contributions):
            name = contribution.name(dimension)
            by_name[name if name in names else OTHER].add((day, number))
        sums += map(frozenset, by_name.values())
    return sums


def rank(rows: Sequence[frozenset[Column]], columns: Sequence[Column]) -> int:
    """Of the matrix of zeros and ones, exactly."""
    matrix = [[Fraction(column in row) for column in columns] for row in set(rows)]
    done = 0
    for place in range(len(columns)):
        pivot = next((index for index in range(done, len(matrix)) if matrix[index][place]), None)
        if pivot is None:
            continue
        matrix[done], matrix[pivot] = matrix[pivot], matrix[done]
        for index in range(done + 1, len(matrix)):
            if factor := matrix[index][place] / matrix[done][place]:
                matrix[index] = [a - factor * b for a, b in zip(matrix[index], matrix[done], strict=True)]
        done += 1
    return done


@given(days())
def test_no_sum_or_difference_of_what_is_told_is_about_fewer_than_five_referees(
    made: list[list[Contribution]],
) -> None:
    """A combination about some referees alone exists exactly where the rank falls when they are left out."""
    for day, contributions in enumerate(made):
        rows = told(day, contributions)
        columns = [(day, number) for number in range(len(contributions))]
        people = sorted({contribution.referee_ref for contribution in contributions})
        everything = rank(rows, columns)
        for size in range(1, min(REFEREES_MIN, len(people))):
            for some in combinations(people, size):
                left = [column for column in columns if contributions[column[1]].referee_ref not in some]
                assert rank(rows, left) == everything


@given(days())
def test_over_several_days_nobody_is_singled_out_either(made: list[list[Contribution]]) -> None:
    rows = [row for day, contributions in enumerate(made) for row in told(day, contributions)]
    columns = [(day, number) for day, contributions in enumerate(made) for number in range(len(contributions))]
    crowded = [day for day, contributions in enumerate(made) if len({one.referee_ref for one in contributions}) > 1]
    everything = rank(rows, columns)
    for who in {one.referee_ref for day in crowded for one in made[day]}:
        left = [
            column for column in columns if made[column[0]][column[1]].referee_ref != who or column[0] not in crowded
        ]
        assert rank(rows, left) == everything


@given(days())
def test_parts_and_rest_are_the_total_and_each_part_is_made_by_five(made: list[list[Contribution]]) -> None:
    for contributions in made:
        total = Part("", len(contributions), sum(each.accrued_micro for each in contributions))
        for dimension, parts in shown(contributions).items():
            for part in parts:
                members = {each.referee_ref for each in contributions if each.name(dimension) == part.name}
                assert len(members) >= REFEREES_MIN
                assert part.name != OTHER
            whole = with_rest(parts, total)
            assert sum(part.accrued_micro for part in whole) == total.accrued_micro
            assert sum(part.charges for part in whole) == total.charges
            assert [part.accrued_micro for part in whole] == sorted((p.accrued_micro for p in whole), reverse=True)


def test_what_five_made_is_shown() -> None:
    six = [Contribution(referee(number), "a", "x", "2026-01", 1, 10) for number in range(6)]
    assert shown(six) == {
        Dimension.MODEL: [Part("a", 6, 60)],
        Dimension.CHANNEL: [Part("x", 6, 60)],
        Dimension.COHORT: [Part("2026-01", 6, 60)],
    }


def test_a_part_whose_rest_would_be_of_a_few_is_merged_with_them() -> None:
    many = [Contribution(referee(number), "a", "x", "2026-01", 1, 10) for number in range(9)]
    few = [Contribution(referee(100), "b", "y", "2026-02", 1, 10)]
    assert not any(shown([*many, *few]).values())


def test_the_smallest_part_that_helps_is_given_up_first() -> None:
    rows = [
        Contribution(referee(number), model, "x", "2026-01", 1, 10)
        for model, people in (("a", range(9)), ("b", range(10, 16)), ("c", range(20, 22)))
        for number in people
    ]
    assert [part.name for part in shown(rows)[Dimension.MODEL]] == ["a"]


def test_two_dimensions_do_not_tell_together_what_neither_tells() -> None:
    """Model `a` less channel `x` would be the one of channel `y` who uses `a`."""
    rows = [Contribution(referee(number), "a", "x", "2026-01", 1, 10) for number in range(5)]
    rows += [Contribution(referee(number), "b", "y", "2026-01", 1, 10) for number in range(5, 10)]
    rows += [Contribution(referee(5), "a", "y", "2026-01", 1, 10)]
    parts = shown(rows)
    assert [part.name for part in parts[Dimension.MODEL]] == ["a", "b"]
    assert parts[Dimension.CHANNEL] == []
