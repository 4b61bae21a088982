"""The machine of payouts: one table of what may happen where, and what comes of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from libs.refusals import FailedPrecondition
from services.payout.model import Event, Stage


class IllegalMove(FailedPrecondition):
    """That cannot happen to a payout where it stands."""


_WHERE: Final[Mapping[Event, Mapping[Stage, Stage]]] = MappingProxyType(
    {
        Event.CONFIRMATION_NEEDED: {Stage.REQUESTED: Stage.AWAITING_CONFIRMATION},
        Event.APPROVAL_NEEDED: dict.fromkeys((Stage.REQUESTED, Stage.AWAITING_CONFIRMATION), Stage.AWAITING_APPROVAL),
        Event.READY: dict.fromkeys(
            (Stage.REQUESTED, Stage.AWAITING_CONFIRMATION, Stage.AWAITING_APPROVAL), Stage.QUEUED
        ),
        Event.HOLD_REFUSED: {Stage.REQUESTED: Stage.FAILED},
        Event.CANCEL: dict.fromkeys(
            (Stage.REQUESTED, Stage.AWAITING_CONFIRMATION, Stage.AWAITING_APPROVAL, Stage.QUEUED), Stage.CANCELLED
        ),
        Event.DECLINE: {Stage.AWAITING_APPROVAL: Stage.DECLINED},
        Event.SUBMIT: {Stage.QUEUED: Stage.SUBMITTING},
        Event.PUT_BACK: {Stage.SUBMITTING: Stage.QUEUED},
        Event.ACCEPT: dict.fromkeys((Stage.SUBMITTING, Stage.UNKNOWN, Stage.REJECTED), Stage.PROCESSING),
        Event.LOSE: {Stage.SUBMITTING: Stage.UNKNOWN},
        Event.REJECT: dict.fromkeys((Stage.SUBMITTING, Stage.UNKNOWN, Stage.PROCESSING), Stage.REJECTED),
        Event.SUBMIT_AGAIN: {Stage.REJECTED: Stage.SUBMITTING},
        Event.STALL: dict.fromkeys((Stage.UNKNOWN, Stage.PROCESSING), Stage.STALLED),
        Event.COMPLETE: dict.fromkeys((Stage.UNKNOWN, Stage.PROCESSING, Stage.STALLED), Stage.COMPLETED),
        Event.FAIL: dict.fromkeys(
            (Stage.UNKNOWN, Stage.PROCESSING, Stage.STALLED, Stage.REJECTED), Stage.FAILED
        ),
        Event.RETRY: {Stage.FAILED: Stage.REQUESTED},
    }
)  # fmt: skip

TABLE: Final[Mapping[tuple[Stage, Event], Stage]] = MappingProxyType(
    {(stage, event): to for event, stages in _WHERE.items() for stage, to in stages.items()}
)
"""Everything that is not here is illegal. The store's trigger knows the same pairs of stages."""


def after(stage: Stage, event: Event) -> Stage:
    """Return the stage that an event leads to. Raises IllegalMove."""
    to = TABLE.get((stage, event))
    if to is None:
        raise IllegalMove(stage=stage.name, event=event.name)
    return to
