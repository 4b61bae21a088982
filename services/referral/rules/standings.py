"""Graduated sanctions."""

from datetime import datetime, timedelta
from typing import Final

from libs.four_eyes import is_same_person
from libs.money import BPS
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from services.referral.model import Standing, StandingRecord
from services.referral.model.standings import Enforcement, Tally

SAMPLE_MIN: Final = 5
LADDER: Final = (
    (5_000, Standing.SUSPENDED),
    (4_000, Standing.BONUSES_ON_HOLD),
    (2_500, Standing.WARNED),
)
"""More than this part of the referrals flagged, in 1/10000; the harshest first."""
FLAGGED_SHARE: Final = "FLAGGED_SHARE"
REINSTATED: Final = "REINSTATED"
OVERRIDDEN: Final = "OVERRIDDEN"
FRAUD_CONFIRMED: Final = "FRAUD_CONFIRMED"
MAX_EXEMPTION: Final = timedelta(days=366)

_ORDER: Final = tuple(Standing)
_FROZEN: Final = frozenset({Standing.SUSPENDED, Standing.FORFEITED})


class AccountNotKnown(NotFound):
    """Referral knows no such account."""


class StandingInvalid(InvalidArgument):
    """A standing set by hand is good, warned, bonuses on hold or suspended."""


class StandingFinal(FailedPrecondition):
    """Fraud was confirmed: there is no way back."""


class AccountNotSuspended(FailedPrecondition):
    """Fraud is confirmed of a suspended account only."""


class FraudNeedsSecond(PermissionDenied):
    """Fraud is confirmed by another operator than whoever suspended the account."""


class ExemptionInvalid(InvalidArgument):
    """An exemption ends in the future, at most 366 days from now."""


def by_share(tally: Tally) -> Standing:
    """The standing that a share of flagged referrals earns."""
    if tally.referrals < SAMPLE_MIN:
        return Standing.GOOD
    share = next((to for part_bps, to in LADDER if tally.flagged * BPS > part_bps * tally.referrals), None)
    return share or Standing.GOOD


def automatic(record: StandingRecord, tally: Tally) -> Standing:
    """The standing after a look at the share: nothing but an operator lifts a suspension, or what an operator set."""
    if record.standing in _FROZEN:
        return record.standing
    target = by_share(tally)
    return max(record.standing, target, key=_ORDER.index) if record.by_hand else target


def is_harsher(standing: Standing, than: Standing) -> bool:
    """Whether a standing holds more against an account than another."""
    return _ORDER.index(standing) > _ORDER.index(than)


def check_override(record: StandingRecord, standing: Standing) -> None:
    """Forfeiting has its own call, and a forfeited account no other standing."""
    if standing is Standing.FORFEITED:
        raise StandingInvalid(field="standing")
    if record.standing is Standing.FORFEITED:
        raise StandingFinal


def check_fraud(record: StandingRecord, operator_id: str) -> None:
    """Only from suspended, and never by one operator alone."""
    if record.standing is Standing.FORFEITED:
        raise StandingFinal
    if record.standing is not Standing.SUSPENDED:
        raise AccountNotSuspended(standing=record.standing)
    if record.by_hand and is_same_person(record.changed_by, operator_id):
        raise FraudNeedsSecond


def enforcement(before: Standing, after: Standing) -> Enforcement | None:
    """What distribution is to be told of a change; None when it is no business of its."""
    if after is Standing.FORFEITED:
        return Enforcement.FORFEIT
    if (before in _FROZEN) == (after in _FROZEN):
        return None
    return Enforcement.FREEZE if after in _FROZEN else Enforcement.UNFREEZE


def share_bps(tally: Tally) -> int:
    """The flagged part of the referrals in 1/10000, rounded down."""
    return tally.flagged * BPS // tally.referrals if tally.referrals else 0


def check_exemption(until: datetime, now: datetime) -> None:
    """Refuses an exemption that is over, or would last too long."""
    if not now < until <= now + MAX_EXEMPTION:
        raise ExemptionInvalid(field="until")


def retry_after(tries: int) -> timedelta:
    """How long to leave distribution alone after so many tries: 5 s at first, then longer, at most 5 minutes."""
    return timedelta(seconds=min(300, 5 * 2 ** min(tries, 6)))
