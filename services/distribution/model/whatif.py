"""Nouns of the what-if."""

from datetime import datetime
from typing import NamedTuple

from libs.money import Rates


class Question(NamedTuple):
    """Which charges, by their `finalized_at`, under which rates."""

    from_time: datetime
    to_time: datetime
    rates: Rates
    losers: int


class Shares(NamedTuple):
    """One party's shares as they were and as they would have been."""

    actual_micro: int
    simulated_micro: int


class Replayed(NamedTuple):
    """A period under other rates; `losers` are creators by surrogate, the largest loss first."""

    charges: int
    revenue_micro: int
    referrers: Shares
    commons: Shares
    communities: Shares
    foundation: Shares
    losers: list[tuple[str, Shares]]
