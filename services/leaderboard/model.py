"""What leaderboard speaks of: windows, rows, places, profiles."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class Timeframe(IntEnum):
    """Calendar windows, in UTC; the numbers are those of the protocol and of the tables."""

    DAILY = 1
    WEEKLY = 2
    MONTHLY = 3
    ALL_TIME = 4


@dataclass(frozen=True, slots=True)
class Window:
    """One window of one timeframe, named by its first day."""

    timeframe: Timeframe
    start: date


class Rise(NamedTuple):
    """What registrations and reversals add to one creator in one window; the instant is of the newest referral."""

    timeframe: int
    window_start: date
    creator_ref: UUID
    referral_count: int
    referred_at: datetime | None
    reversed_micro: int = 0


class Referee(NamedTuple):
    """Who came, by whom, when and how; an empty channel is none."""

    referee_ref: UUID
    referrer_ref: UUID
    registered_at: datetime
    channel: str


class Flag(NamedTuple):
    """Whether a registration is not to count; of two the greater revision is right."""

    referee_ref: UUID
    flagged: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Run:
    """Days with a referral that follow on each other."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Place:
    """One creator on one board; among equals who came to its referral count first, at `reached_at`, stands higher."""

    creator_ref: UUID
    referral_count: int
    earned_micro: int
    reached_at: datetime

    @property
    def counts(self) -> bool:
        """False where everything was taken back: then it is on no board."""
        return self.referral_count > 0 or self.earned_micro > 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A place with its number, from 1."""

    rank: int
    place: Place


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a board, the instant by which everything that was published is in it, and whether more follows."""

    rows: tuple[Ranked, ...]
    as_of: datetime
    more: bool = False


@dataclass(frozen=True, slots=True)
class Face:
    """What is shown of a creator beside its place; an empty name is none."""

    display_name: str = ""
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What a creator shows; an empty name is none."""

    account_ref: UUID
    display_name: str = ""
    revision: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What one creator accrued in one bucket of time."""

    start: date
    accrued_micro: int
    charges: int
    reversed_micro: int = 0
