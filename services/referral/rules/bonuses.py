"""What earns a bonus, and how a bonus moves on."""

import re
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.money import MAX_MICRO
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.referral.model import Kind, Registration
from services.referral.model.bonuses import (
    Action,
    ActionKind,
    ActionOutcome,
    Bonus,
    BonusState,
    BonusTerms,
    Budget,
    ClearedBy,
    DenialReason,
    Purchase,
    Verdict,
)

SETTLES_AFTER: Final = timedelta(seconds=30)
"""A call to distribution that nobody waits for any more has ended by then."""

REVERSING: Final = frozenset({DenialReason.REFUNDED, DenialReason.REFERRER_FORFEITED})
"""A bonus denied for one of these takes its referral back too; a cap or an empty budget does not."""

_ID = re.compile(r"[ -~]{1,128}")


class ActionIdInvalid(InvalidArgument):
    """An action's id is 1 to 128 printable ASCII characters."""


class ActionKindInvalid(InvalidArgument):
    """A qualifying action is a dNFT mint or a credit purchase."""


class ActionAmountInvalid(InvalidArgument):
    """What was paid is 0 to 10^15 micro-dollars."""


class ActionTimeInvalid(InvalidArgument):
    """An action has a time, and it is not in the future."""


class ActionMismatch(AlreadyExists):
    """An action of this id was reported with other content."""


class BonusUnknown(NotFound):
    """No such bonus."""


class BonusNotWithheld(FailedPrecondition):
    """The bonus does not wait for a review."""


def check_action_id(action_id: str) -> str:
    """An action's id as it is."""
    if not _ID.fullmatch(action_id):
        raise ActionIdInvalid(field="action_id")
    return action_id


def check_paid(paid_micro: int) -> int:
    """A net amount that may have been paid."""
    if not 0 <= paid_micro <= MAX_MICRO:
        raise ActionAmountInvalid(field="paid_micro")
    return paid_micro


def check_time(action: Action, now: datetime, terms: BonusTerms) -> None:
    """Refuses what has not happened yet."""
    if action.occurred_at > now + terms.clock_skew:
        raise ActionTimeInvalid(field="occurred_at")


def check_same_action(earlier: Action, action: Action) -> None:
    """Refuses an id that stands for another action."""
    if earlier != action:
        raise ActionMismatch(field="action_id")


def minimum_micro(kind: ActionKind, terms: BonusTerms) -> int:
    """The least that an action of a kind must have paid, net."""
    return terms.mint_minimum_micro if kind is ActionKind.DNFT_MINT else terms.purchase_minimum_micro


def outcome(
    action: Action, net_micro: int, registration: Registration | None, earlier: Bonus | None, terms: BonusTerms
) -> ActionOutcome:
    """What comes of an action; `net_micro` is what it paid by everything that is known, `earlier` the account's bonus.

    Who acted before it was bound had no referrer when it acted.
    """
    if registration is None or registration.kind is Kind.ORGANIC:
        return ActionOutcome.ORGANIC
    if action.occurred_at + terms.clock_skew < registration.created_at:
        return ActionOutcome.ORGANIC
    if earlier is not None:
        return ActionOutcome.NOT_FIRST
    if net_micro < minimum_micro(action.kind, terms):
        return ActionOutcome.BELOW_MINIMUM
    return ActionOutcome.BONUS


def net_micro(action: Action, purchase: Purchase | None) -> int:
    """What an action paid, less what its purchase was paid back."""
    if purchase is None or not purchase.refunded or purchase.account_ref != action.account_ref:
        return action.paid_micro
    return min(action.paid_micro, purchase.net_paid_micro)


def bonus(
    bonus_id: uuid.UUID,
    action: Action,
    referrer_ref: uuid.UUID,
    earned_in_window: int,
    *,
    now: datetime,
    terms: BonusTerms,
) -> Bonus:
    """The bonus that an action earned: pending, or denied where its referrer has had as many as it may have."""
    made = Bonus(
        bonus_id=bonus_id,
        referee_ref=action.account_ref,
        referrer_ref=referrer_ref,
        source=action.source,
        kind=action.kind,
        action_id=action.action_id,
        amount_micro=terms.amount_micro,
        created_at=now,
        hold_until=now + terms.hold,
        changed_at=now,
    )
    if earned_in_window < terms.cap:
        return made
    return replace(made, state=BonusState.DENIED, reason=DenialReason.REFERRER_CAP, budget=Budget.NONE)


def reserved(bonus: Bonus, campaign_id: uuid.UUID, now: datetime) -> Bonus:
    """The bonus once its budget is set aside. One that was denied meanwhile is released instead."""
    if bonus.budget is not Budget.ASKED:
        return bonus
    return replace(bonus, budget=Budget.RESERVED, campaign_id=campaign_id, changed_at=now, next_try_at=None)


def denied(bonus: Bonus, reason: str, now: datetime) -> Bonus:
    """The bonus, denied, its budget on the way back; unchanged where it is decided, or a grant is under way."""
    if not bonus.is_open or bonus.sent_at is not None:
        return bonus
    # Of a reservation that was asked for and not answered it is not known whether it will be: it is given back later.
    later = now + SETTLES_AFTER if bonus.budget is Budget.ASKED else None
    return replace(
        bonus,
        state=BonusState.DENIED,
        reason=reason,
        budget=Budget.RELEASING,
        changed_at=now,
        cleared_at=None,
        cleared_by=None,
        next_try_at=later,
    )


def refunded(bonus: Bonus, purchase: Purchase, now: datetime, terms: BonusTerms) -> Bonus:
    """The bonus after its purchase was paid back so far that it would not have qualified."""
    if not purchase.refunded or purchase.account_ref != bonus.referee_ref or bonus.refunded_at is not None:
        return bonus
    if purchase.net_paid_micro >= minimum_micro(bonus.kind, terms):
        return bonus
    return denied(replace(bonus, refunded_at=now), DenialReason.REFUNDED, now)


def is_due(bonus: Bonus, now: datetime) -> bool:
    """Whether it is time for the checks."""
    return (
        bonus.state is BonusState.PENDING
        and bonus.budget is Budget.RESERVED
        and bonus.checked_at is None
        and bonus.hold_until <= now
    )


def judged(bonus: Bonus, verdict: Verdict, now: datetime) -> Bonus:
    """The bonus after the checks: cleared, or withheld for a reviewer."""
    checked = replace(bonus, checked_at=now, flagged=verdict.flagged, risk_score=verdict.risk_score, next_try_at=None)
    if verdict.flagged:
        return replace(checked, state=BonusState.WITHHELD, reason=verdict.reason or "FLAGGED", changed_at=now)
    return replace(checked, cleared_at=now, cleared_by=ClearedBy.CHECKS)


def reviewed(bonus: Bonus, *, cleared: bool, reason: str, now: datetime) -> Bonus:
    """The bonus after a review: on its way to be granted, or denied. One that was denied meanwhile stays denied."""
    if bonus.state is BonusState.DENIED:
        return bonus
    if bonus.state is not BonusState.WITHHELD or bonus.cleared_at is not None:
        raise BonusNotWithheld
    if not cleared:
        return denied(bonus, reason, now)
    return replace(bonus, cleared_at=now, cleared_by=ClearedBy.REVIEW, next_try_at=None)


def sent(bonus: Bonus, now: datetime) -> Bonus:
    """The bonus while its grant is asked for; whether it was sent before is told by its earlier `sent_at`."""
    return bonus if bonus.sent_at is not None else replace(bonus, sent_at=now)


def granted(bonus: Bonus, lot_id: uuid.UUID, now: datetime) -> Bonus:
    """The bonus once it is credits."""
    return replace(
        bonus,
        state=BonusState.GRANTED,
        reason="",
        budget=Budget.GRANTED,
        lot_id=lot_id,
        sent_at=None,
        next_try_at=None,
        changed_at=now,
    )


def put_back(bonus: Bonus, now: datetime, until: datetime) -> Bonus:
    """The bonus after distribution said no to its grant for certain: denied if it was paid back, else tried later."""
    back = replace(bonus, sent_at=None, next_try_at=until)
    return denied(back, DenialReason.REFUNDED, now) if bonus.refunded_at is not None else back


def released(bonus: Bonus) -> Bonus:
    """A denied bonus whose budget was given back."""
    return replace(bonus, budget=Budget.RELEASED, next_try_at=None)


def left_alone(bonus: Bonus, until: datetime) -> Bonus:
    """The bonus after a step of it failed: not tried again before then."""
    return replace(bonus, next_try_at=until)
