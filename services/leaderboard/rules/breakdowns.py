"""What a creator may see of how its earnings came about, without seeing anybody.

Totals are exact, so whatever is not shown is known too: it is the total less the rest. Hence a part is shown only where
what remains is made by at least five referees as well. And parts of one dimension can be subtracted from those of
another: hence every crossing of shown and merged parts, over all dimensions, holds either nobody or at least five. Then
whatever is added and subtracted, of one day or of many, what comes out is made by at least five.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from libs.refusals import InvalidArgument
from services.leaderboard.model import Point

REFEREES_MIN: Final = 5
OTHER: Final = "other"
UNTAGGED: Final = "untagged"
DAYS_MAX: Final = 400
LINES_DEFAULT: Final = 500
LINES_MAX: Final = 1000

_TOKEN_DIGITS: Final = 9


class Dimension(IntEnum):
    """What a breakdown is by; the numbers are those of the protocol and of the tables."""

    MODEL = 1
    CHANNEL = 2
    COHORT = 3


class Contribution(NamedTuple):
    """What one referee brought with one model on one day."""

    referee_ref: UUID
    model: str
    channel: str
    cohort: str
    charges: int
    accrued_micro: int

    def name(self, dimension: Dimension) -> str:
        """The part of a dimension that it falls into."""
        return (self.model, self.channel, self.cohort)[dimension - 1]


class Part(NamedTuple):
    """A part of a breakdown."""

    name: str
    charges: int
    accrued_micro: int


class Line(NamedTuple):
    """A line of a statement."""

    day: date
    part: Part
    reversed_micro: int


class DimensionInvalid(InvalidArgument):
    """A breakdown is by model, channel or cohort."""


class DaysInvalid(InvalidArgument):
    """Days are written 2026-11-21; the last is not before the first, and there are at most 400."""


class LinesPageInvalid(InvalidArgument):
    """A page has 1 to 1000 lines and goes on where a former one ended."""


def shown(contributions: Sequence[Contribution]) -> dict[Dimension, list[Part]]:
    """The parts of one creator's day that may be shown; models are chosen first, cohorts last."""
    crossings: list[tuple[str, ...]] = [()] * len(contributions)
    parts: dict[Dimension, list[Part]] = {}
    for dimension in Dimension:
        names = [contribution.name(dimension) for contribution in contributions]
        chosen = _choose(
            (name, crossing, contribution.referee_ref)
            for name, crossing, contribution in zip(names, crossings, contributions, strict=True)
        )
        parts[dimension] = _summed(contributions, names, chosen)
        crossings = [
            (*crossing, name if name in chosen else OTHER) for crossing, name in zip(crossings, names, strict=True)
        ]
    return parts


def with_rest(parts: Iterable[Part], total: Part) -> list[Part]:
    """Parts, largest first, with what is missing to the total as `other`."""
    summed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    rest = [total.charges, total.accrued_micro]
    for part in parts:
        for row, sign in ((summed[part.name], 1), (rest, -1)):
            row[0] += sign * part.charges
            row[1] += sign * part.accrued_micro
    if any(rest):
        summed[OTHER] = rest
    found = [Part(name, *row) for name, row in summed.items()]
    return sorted(found, key=lambda part: (-part.accrued_micro, part.name))


def lines(parts: Iterable[tuple[date, Part]], totals: Iterable[Point]) -> list[Line]:
    """The lines of a statement: for each day its models by name, then the rest and what was taken back as `other`."""
    shown_on: dict[date, list[Part]] = defaultdict(list)
    for day, part in parts:
        shown_on[day].append(part)
    return [line for total in totals for line in _lines_of(total, shown_on[total.start])]


def check_dimension(number: int) -> Dimension:
    """Raises DimensionInvalid."""
    if number not in set(Dimension):
        raise DimensionInvalid(field="dimension")
    return Dimension(number)


def check_days(first: str, last: str) -> tuple[date, date]:
    """The first and the last day; raises DaysInvalid."""
    days = [_day(text, field) for text, field in ((first, "from_day"), (last, "to_day"))]
    if not timedelta(0) <= days[1] - days[0] < timedelta(days=DAYS_MAX):
        raise DaysInvalid(field="to_day")
    return days[0], days[1]


def check_lines(size: int) -> int:
    """The lines of a page; 0 means the default."""
    if not 0 <= size <= LINES_MAX:
        raise LinesPageInvalid(field="page_size")
    return size or LINES_DEFAULT


def check_token(token: str) -> int:
    """How many lines went before: days that are published never change their lines. Raises LinesPageInvalid."""
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) <= _TOKEN_DIGITS):
        raise LinesPageInvalid(field="page_token")
    return int(token)


def _lines_of(total: Point, parts: Sequence[Part]) -> list[Line]:
    found = sorted(with_rest(parts, Part("", total.charges, total.accrued_micro)))
    rest = next((part for part in found if part.name == OTHER), Part(OTHER, 0, 0))
    made = [Line(total.start, part, 0) for part in found if part.name != OTHER]
    if rest.charges or rest.accrued_micro or total.reversed_micro:
        made.append(Line(total.start, rest, total.reversed_micro))
    return made


def _choose(rows: Iterable[tuple[str, tuple[str, ...], UUID]]) -> set[str]:
    """The names that may be shown, of (name, crossing of earlier dimensions, referee)."""
    members: dict[str, dict[tuple[str, ...], set[UUID]]] = defaultdict(lambda: defaultdict(set))
    for name, crossing, referee_ref in rows:
        members[name][crossing].add(referee_ref)
    largest_first = sorted(members, key=lambda name: (-sum(map(len, members[name].values())), name))
    chosen = [name for name in largest_first if name != OTHER and _is_crowded([members[name]])]
    merged = [members[name] for name in largest_first if name not in chosen]
    while merged and chosen and not _is_crowded(merged):
        merged.append(members[chosen.pop()])
    return set(chosen)


def _is_crowded(merged: Sequence[Mapping[tuple[str, ...], set[UUID]]]) -> bool:
    crossings: dict[tuple[str, ...], set[UUID]] = defaultdict(set)
    for each in merged:
        for crossing, referees in each.items():
            crossings[crossing] |= referees
    return all(len(referees) >= REFEREES_MIN for referees in crossings.values())


def _summed(contributions: Sequence[Contribution], names: Sequence[str], chosen: set[str]) -> list[Part]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for contribution, name in zip(contributions, names, strict=True):
        if name in chosen:
            sums[name][0] += contribution.charges
            sums[name][1] += contribution.accrued_micro
    return [Part(name, *row) for name, row in sorted(sums.items()) if row[1]]


def _day(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise DaysInvalid(field=field) from None
    if day.isoformat() != text:
        raise DaysInvalid(field=field)
    return day
