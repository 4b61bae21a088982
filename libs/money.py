"""Money is a whole number of micro-dollars; whoever divides it says who owns the remainder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, NewType

from libs.refusals import InvalidArgument

Micro = NewType("Micro", int)

MAX_MICRO = 10**15
"""The largest single amount: a billion dollars."""

BPS = 10_000
"""Basis points in a whole."""

MAX_REFERRER_BPS = 5_000

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")


class InvalidAmount(InvalidArgument):
    """An amount is a whole number of micro-dollars between 0 and 10^15, written in plain decimal digits."""


class InvalidRates(InvalidArgument):
    """Commons, community and foundation rates sum to 10000 bps; the referrer's is between 0 and 5000 bps."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of one revenue rule, in basis points. The last three divide what the referrer's share leaves over."""

    referrer_bps: int
    commons_bps: int
    community_bps: int
    foundation_bps: int

    def __post_init__(self) -> None:
        rest = (self.commons_bps, self.community_bps, self.foundation_bps)
        if not 0 <= self.referrer_bps <= MAX_REFERRER_BPS:
            raise InvalidRates(referrer_bps=self.referrer_bps)
        if min(rest) < 0 or sum(rest) != BPS:
            raise InvalidRates(sum_bps=sum(rest))


class Split(NamedTuple):
    """One charge's shares, in micro-dollars; together exactly the revenue."""

    referrer_micro: int
    commons_micro: int
    community_micro: int
    foundation_micro: int


def split(revenue_micro: int, rates: Rates, *, referred: bool) -> Split:
    """Divide one charge's revenue; every share is rounded down and the foundation owns what rounding leaves.

    Without a referrer (organic, or outside the window) the whole revenue is the remainder that the others divide.
    """
    if type(revenue_micro) is not int or not 0 <= revenue_micro <= MAX_MICRO:
        raise InvalidAmount(field="revenue_micro")
    referrer = revenue_micro * rates.referrer_bps // BPS if referred else 0
    remainder = revenue_micro - referrer
    commons = remainder * rates.commons_bps // BPS
    community = remainder * rates.community_bps // BPS
    return Split(referrer, commons, community, remainder - commons - community)


def largest_remainder(pool_micro: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide a pool by weight: the parts sum to the pool and each is within one micro of its exact share.

    Hamilton's method: everyone's share rounded down, then one micro each by largest remainder; ties go to the larger
    weight, then to the smaller id. Weights are whole and may be of any size. The answer keeps the order of `weights`.
    Raises ValueError for a negative pool or weight, and for a pool that no weight claims.
    """
    if pool_micro < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a pool and its weights are never negative")
    total = sum(weights.values())
    if total == 0:
        if pool_micro:
            raise ValueError("nobody has a weight, so nobody can be given the pool")
        return dict.fromkeys(weights, 0)
    parts: dict[str, int] = {}
    claims: list[tuple[int, int, str]] = []
    for identifier, weight in weights.items():
        parts[identifier], remainder = divmod(pool_micro * weight, total)
        claims.append((-remainder, -weight, identifier))
    claims.sort()
    left_micro = pool_micro - sum(parts.values())
    for _, _, identifier in claims[:left_micro]:
        parts[identifier] += 1
    return parts


def parse_micro(value: object, *, field: str | None = None) -> Micro:
    """Read an amount as JSON may carry it: a decimal string (proto3's int64) or an integer.

    One amount has one spelling, so that fingerprints of requests agree: no sign, spaces, exponent or leading zeros,
    ASCII digits only. Raises InvalidAmount, naming `field` where given.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_MICRO:
        raise InvalidAmount(field=field)
    return Micro(value)
