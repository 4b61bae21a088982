"""Which payouts operators and owners have to look at again, and what becomes of what they say."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from libs.four_eyes import is_same_person
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted
from services.payout.model import MICRO, Event, Money, Stage
from services.payout.model.payouts import Payout

SINGLE_OVER_LIMIT: Final = "SINGLE_OVER_LIMIT"
CUMULATIVE_OVER_LIMIT: Final = "CUMULATIVE_OVER_LIMIT"
APPROVE_ALL: Final = "APPROVE_ALL"
VERIFIED_BY: Final = (SINGLE_OVER_LIMIT, CUMULATIVE_OVER_LIMIT)
"""What an owner confirms anew and an operator approves is a verified payout: the sum starts again after it."""

_CANCELLABLE: Final = frozenset({Stage.REQUESTED, Stage.AWAITING_CONFIRMATION, Stage.AWAITING_APPROVAL, Stage.QUEUED})


class PayoutTooSoon(ResourceExhausted):
    """One payout can be asked for per 24 hours."""


class PayoutNotCancellable(FailedPrecondition):
    """The payout was handed over already, or is final."""


class PayoutNotRetryable(FailedPrecondition):
    """Only a payout that failed can be tried again."""


class NotAwaitingApproval(FailedPrecondition):
    """The payout does not wait for an approval."""


class AlreadyApproved(AlreadyExists):
    """This operator has approved the payout already."""


class ApproverIsOwner(PermissionDenied):
    """Nobody decides about a payout of their own."""


class DeciderIsProposer(PermissionDenied):
    """Another operator than the proposer has to agree."""


class ProposalDecided(FailedPrecondition):
    """The proposal was decided before."""


class ProposalOpen(AlreadyExists):
    """Another proposal about this payout is open, or under way."""


class NotResolvable(FailedPrecondition):
    """Only a payout that is stalled or unknown, or sent by hand, can be resolved by people."""


class NothingWasVerified(FailedPrecondition):
    """No attempt of this payout was verified: the provider cannot have sent it."""


class MayBeAtProvider(FailedPrecondition):
    """The provider has this payout, or may have it."""


class NotSentByHand(FailedPrecondition):
    """The payout is not being sent by hand, or its money is not burned yet."""


class SentMismatch(InvalidArgument):
    """What was sent and the fee are together the payout's amount; where it failed both are 0."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Amounts in micro-USD; more than `single_micro` or `cumulative_micro` waits for an operator."""

    single_micro: int = 50 * MICRO
    cumulative_micro: int = 100 * MICRO
    two_approvers_micro: int = 1000 * MICRO
    approve_all: bool = False
    window: timedelta = timedelta(hours=24)
    promise: timedelta = timedelta(hours=72)


class Terms(NamedTuple):
    """How payouts are taken on. `enabled` is PAYOUTS_ENABLED: off, nothing is burned but what is sent by hand.

    Older prices than `price_max_age` offer nothing; a quote stands for `quote`.
    """

    enabled: bool
    price_max_age: timedelta
    quote: timedelta


class Needs(NamedTuple):
    """What a payout waits for. `fresh`: its owner confirms the destination, known or not."""

    approvals: int
    reasons: tuple[str, ...]
    fresh: bool


def needs(amount_micro: int, cumulative_micro: int, limits: Limits) -> Needs:
    """Return what an amount waits for; `cumulative_micro` includes it."""
    over = {
        SINGLE_OVER_LIMIT: amount_micro > limits.single_micro,
        CUMULATIVE_OVER_LIMIT: cumulative_micro > limits.cumulative_micro,
        APPROVE_ALL: limits.approve_all,
    }
    reasons = tuple(reason for reason, applies in over.items() if applies)
    approvals = 2 if amount_micro >= limits.two_approvers_micro else 1
    return Needs(approvals if reasons else 0, reasons, any(reason in VERIFIED_BY for reason in reasons))


def next_step(payout: Payout) -> Event:
    """Return what comes next for a payout whose money is held."""
    if payout.needs_confirmation and payout.confirmed_at is None:
        return Event.CONFIRMATION_NEEDED
    if payout.approvals_needed and payout.approved_at is None:
        return Event.APPROVAL_NEEDED
    return Event.READY


def check_window(last_requested_at: datetime | None, now: datetime, limits: Limits) -> None:
    """Raise PayoutTooSoon, saying when it is not too soon any more."""
    if last_requested_at and now < last_requested_at + limits.window:
        raise PayoutTooSoon(next_at=(last_requested_at + limits.window).isoformat())


def check_cancellable(payout: Payout) -> None:
    """Raise PayoutNotCancellable."""
    if payout.stage not in _CANCELLABLE:
        raise PayoutNotCancellable(stage=payout.stage.name)


def is_retryable(payout: Payout) -> bool:
    """Whether another round may begin: it failed, having been held once, and its money is back."""
    return payout.stage is Stage.FAILED and payout.money is Money.CLOSED and (payout.held or payout.round > 1)


def check_approval(payout: Payout, operator_id: str, approved_by: Collection[str], owner: str | None) -> None:
    """Raise what keeps an operator from approving."""
    check_not_own(operator_id, owner)
    if payout.stage is not Stage.AWAITING_APPROVAL:
        raise NotAwaitingApproval(stage=payout.stage.name)
    if any(is_same_person(operator_id, each) for each in approved_by):
        raise AlreadyApproved


def check_not_own(operator_id: str, owner: str | None) -> None:
    """Raise ApproverIsOwner."""
    if owner is not None and is_same_person(operator_id, owner):
        raise ApproverIsOwner


def check_sent(payout: Payout, sent_micro: int, fee_micro: int, *, was_sent: bool) -> None:
    """Raise SentMismatch."""
    total = payout.amount_micro if was_sent else 0
    if sent_micro + fee_micro != total or fee_micro < 0 or sent_micro < was_sent:
        raise SentMismatch(field="sent_micro", amount_micro=payout.amount_micro)
