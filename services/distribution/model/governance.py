"""Nouns of the rules' governance: who proposed which rates, who agreed, and when they apply."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from libs.money import Rates


class RuleState(IntEnum):
    """draft → pending approval → cooling down → active → superseded, or rejected; numbered as in the API."""

    DRAFT = 1
    PENDING_APPROVAL = 2
    COOLING_DOWN = 3
    ACTIVE = 4
    SUPERSEDED = 5
    REJECTED = 6


@dataclass(frozen=True, slots=True)
class Proposal:
    """A revenue rule from its draft on; what has not happened yet is None."""

    rule_version: int
    state: RuleState
    rates: Rates
    kill_switch: bool
    cooling: timedelta
    proposed_by: str
    decided_by: str | None
    reason: str
    proposed_at: datetime
    cools_down_until: datetime | None = None
    active_from: datetime | None = None
    active_to: datetime | None = None


class Act(NamedTuple):
    """One row of the rules' audit; `from_state` is None for a new draft."""

    sequence: int
    rule_version: int
    from_state: RuleState | None
    to_state: RuleState
    rates: Rates
    operator_id: str
    reason: str
    acted_at: datetime


class Former(NamedTuple):
    """The end of what is in force: the newest instant a rule applies from, and the floor that it leaves to the next."""

    active_from: datetime
    margin_floor_bps: int
