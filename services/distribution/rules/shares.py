"""Which rule applies to a charge, and who gets what of it."""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter

from libs.money import BPS, split
from services.distribution.model import Attribution, Charge, Decision, Interval, ReferrerOutcome, Rule, Terms

_active_from = attrgetter("active_from")
_from_time = attrgetter("from_time")


def months_later(moment: datetime, months: int) -> datetime:
    """Return the same day and time so many calendar months on; a day that month lacks becomes its last."""
    years, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + years, month + 1
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


def rule_at(rules: Sequence[Rule], finalized_at: datetime) -> Rule:
    """Return the rule in force at that instant; `rules` are in order of `active_from`, the first without beginning."""
    return rules[max(bisect_right(rules, finalized_at, key=_active_from) - 1, 0)]


def is_within(intervals: Sequence[Interval], instant: datetime) -> bool:
    """Whether one of the intervals, which are in order and apart, holds the instant."""
    place = bisect_right(intervals, instant, key=_from_time)
    if not place:
        return False
    to_time = intervals[place - 1].to_time
    return to_time is None or instant < to_time


def decide_by(terms: Terms, charge: Charge, attribution: Attribution) -> Decision:
    """Split one charge by what was in force when it was finalized."""
    rule = rule_at(terms.rules, charge.finalized_at)
    intervals = terms.suspensions.get(charge.model_tier) if terms.suspensions else None
    suspended = intervals is not None and is_within(intervals, charge.finalized_at)
    return decide(charge, attribution, rule, suspended=suspended)


def decide(charge: Charge, attribution: Attribution, rule: Rule, *, suspended: bool = False) -> Decision:
    """Split one charge. Without a share for the referrer, the whole is split as if there were none."""
    outcome = referrer_outcome(charge, attribution, rule, suspended=suspended)
    referred = outcome is ReferrerOutcome.ATTRIBUTED
    return Decision(rule.rule_version, outcome, split(charge.paid_micro, rule.rates, referred=referred))


def referrer_outcome(
    charge: Charge, attribution: Attribution, rule: Rule, *, suspended: bool = False
) -> ReferrerOutcome:
    """Say why the referrer gets its share or not, from the most general reason to the most particular.

    Nothing to split comes first, then what is true of the payer, of the time, of the rule, and of the charge itself.
    """
    if charge.promotional_micro == charge.revenue_micro:
        return ReferrerOutcome.PROMOTIONAL
    if attribution.referrer_ref is None:
        return ReferrerOutcome.ORGANIC
    if charge.finalized_at < attribution.registered_at:
        return ReferrerOutcome.BEFORE_WINDOW
    if charge.finalized_at >= attribution.window_end:
        return ReferrerOutcome.WINDOW_ENDED
    if rule.rates.referrer_bps == 0:
        return ReferrerOutcome.RATE_ZERO
    if suspended:
        return ReferrerOutcome.TIER_SUSPENDED
    if margin_below_floor(charge.revenue_micro, charge.provider_cost_micro, rule.margin_floor_bps):
        return ReferrerOutcome.MARGIN_FLOOR
    return ReferrerOutcome.ATTRIBUTED


def margin_below_floor(revenue_micro: int, provider_cost_micro: int, floor_bps: int) -> bool:
    """Judge the margin on the gross revenue, promotional part and all."""
    return (revenue_micro - provider_cost_micro) * BPS < floor_bps * revenue_micro
