"""How a rule comes into force, and what may be asked about rules."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.four_eyes import is_same_person
from libs.money import Rates
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from services.distribution.model.governance import Former, Proposal, RuleState

MAX_COOLING_DAYS: Final = 365
PAGE: Final = 50
MAX_RULES: Final = 100
MAX_PAGE: Final = 200
INSTANT: Final = timedelta(microseconds=1)

_MOVES: Final = {
    RuleState.PENDING_APPROVAL: frozenset({RuleState.DRAFT}),
    RuleState.COOLING_DOWN: frozenset({RuleState.PENDING_APPROVAL}),
    RuleState.ACTIVE: frozenset({RuleState.PENDING_APPROVAL, RuleState.COOLING_DOWN}),
    RuleState.SUPERSEDED: frozenset({RuleState.ACTIVE}),
    RuleState.REJECTED: frozenset({RuleState.PENDING_APPROVAL, RuleState.COOLING_DOWN}),
}


class RuleRatesMissing(InvalidArgument):
    """A rule has rates."""


class RuleVersionInvalid(InvalidArgument):
    """The version of a rule counts from 1."""


class CoolingInvalid(InvalidArgument):
    """A rule cools down for at least as long as the platform asks, and at most 365 days."""


class RuleStatesInvalid(InvalidArgument):
    """Rules are in known states, each named once."""


class RulePageInvalid(InvalidArgument):
    """A page has as many lines as the call allows, and its token is one that an answer gave."""


class RuleUnknown(NotFound):
    """No such rule."""


class RuleStateWrong(FailedPrecondition):
    """The rule is not in a state in which this can be done."""


class RuleNotYours(PermissionDenied):
    """Only the operator who proposed a draft changes it."""


class RuleNeedsSecond(PermissionDenied):
    """Another operator than the one who proposed a rule approves it."""


def check_version(rule_version: int) -> int:
    """Return the version of a rule; raises RuleVersionInvalid."""
    if rule_version < 1:
        raise RuleVersionInvalid(field="rule_version")
    return rule_version


def check_cooling(days: int, least: timedelta) -> timedelta:
    """Return how long a rule is to cool down, which is `least` where nothing is said; raises CoolingInvalid."""
    cooling = timedelta(days=days) if 0 <= days <= MAX_COOLING_DAYS else timedelta()
    if days and cooling < least:
        raise CoolingInvalid(field="cooling_days", least_seconds=least // timedelta(seconds=1))
    return cooling or least


def check_states(numbers: Sequence[int]) -> list[RuleState]:
    """Return the states to list; none for all. Raises RuleStatesInvalid."""
    if len(set(numbers)) < len(numbers) or not set(numbers) <= set(RuleState):
        raise RuleStatesInvalid(field="states")
    return [RuleState(number) for number in numbers]


def check_page(size: int, token: str, most: int) -> tuple[int, int | None]:
    """Return the size of a page and the number that it goes on below; raises RulePageInvalid."""
    if not 0 <= size <= most:
        raise RulePageInvalid(field="page_size", limit=most)
    if token and not (token.isascii() and token.isdecimal() and len(token) <= 18):  # noqa: PLR2004 - fits 64 bits
        raise RulePageInvalid(field="page_token")
    return size or PAGE, int(token) if token else None


def check_known(rule: Proposal | None) -> Proposal:
    """Raise RuleUnknown where there is none."""
    if rule is None:
        raise RuleUnknown
    return rule


def check_draft_of(rule: Proposal, operator_id: str) -> None:
    """Raise RuleStateWrong or RuleNotYours."""
    if rule.state is not RuleState.DRAFT:
        raise RuleStateWrong(state=rule.state.name)
    if operator_id != rule.proposed_by:
        raise RuleNotYours


def moved(rule: Proposal, state: RuleState) -> Proposal:
    """Return the rule in its next state; raises RuleStateWrong where that is none of its next ones."""
    if rule.state not in _MOVES[state]:
        raise RuleStateWrong(state=rule.state.name)
    return replace(rule, state=state)


def approved(rule: Proposal, operator_id: str, now: datetime) -> Proposal:
    """Return the rule as it cools down, or a kill switch about to be active. Raises RuleStateWrong, RuleNeedsSecond."""
    if rule.state is not RuleState.PENDING_APPROVAL:
        raise RuleStateWrong(state=rule.state.name)
    if is_same_person(operator_id, rule.proposed_by):
        raise RuleNeedsSecond
    if rule.kill_switch:
        return replace(rule, decided_by=operator_id)
    return replace(moved(rule, RuleState.COOLING_DOWN), decided_by=operator_id, cools_down_until=now + rule.cooling)


def kill_switch_rates(active: Rates) -> Rates:
    """Return the rates that end accrual and change nothing else."""
    return replace(active, referrer_bps=0)


def activated(rule: Proposal, active: Proposal, active_from: datetime) -> Proposal:
    """Return the rule in force. A kill switch takes over the other rates of the rule that it ends."""
    rates = kill_switch_rates(active.rates) if rule.kill_switch else rule.rates
    return replace(moved(rule, RuleState.ACTIVE), rates=rates, active_from=active_from)


def superseded(active: Proposal, active_to: datetime) -> Proposal:
    """Return the rule that was in force until then."""
    return replace(moved(active, RuleState.SUPERSEDED), active_to=active_to)


def first_instant(now: datetime, last_finalized_at: datetime | None, after: datetime | None = None) -> datetime:
    """Return from when a change applies: now, but after every charge that was finalized without it, and after `after`.

    A charge may be finalized up to five minutes ahead of us; whatever is recorded keeps the rule it was decided by.
    """
    bounds = [instant + INSTANT for instant in (last_finalized_at, after) if instant is not None]
    return max(now, *bounds) if bounds else now


def next_active_from(now: datetime, last_finalized_at: datetime | None, former: Former) -> datetime:
    """Return from when the next rule applies."""
    return first_instant(now, last_finalized_at, former.active_from)
