"""What may be asked of other rates."""

from datetime import datetime, timedelta
from typing import Final

from libs.refusals import InvalidArgument, ResourceExhausted

MAX_PERIOD: Final = timedelta(days=366)
MAX_LOSERS: Final = 100


class SimulatedPeriodInvalid(InvalidArgument):
    """A period ends after it begins, at most 366 days later."""


class LosersOutOfRange(InvalidArgument):
    """Between 0 and 100 creators are named."""


class CandidateMissing(InvalidArgument):
    """Simulated are rates, or those of a rule."""


class SimulationTooLong(ResourceExhausted):
    """The period has more charges than are replayed in time; ask for a shorter one."""


def check_period(from_time: datetime | None, to_time: datetime | None) -> tuple[datetime, datetime]:
    """Return the period; raises SimulatedPeriodInvalid naming the field."""
    if from_time is None:
        raise SimulatedPeriodInvalid(field="from_time")
    if to_time is None or not timedelta() < to_time - from_time <= MAX_PERIOD:
        raise SimulatedPeriodInvalid(field="to_time")
    return from_time, to_time


def check_losers(losers: int) -> int:
    """Return how many creators to name; raises LosersOutOfRange."""
    if not 0 <= losers <= MAX_LOSERS:
        raise LosersOutOfRange(field="losers")
    return losers
