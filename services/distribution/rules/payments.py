"""Decisions about payments: which report counts, how a purchase stands, what a refund takes back of which charge."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.money import MAX_MICRO
from services.distribution.model.payments import (
    FundedCharge,
    Payment,
    PaymentState,
    Purchase,
    PurchaseState,
    Report,
    Reversal,
    UnallocatedReason,
)
from services.distribution.rules.refusals import (
    OrderInvalid,
    PaymentAmountInvalid,
    PaymentClearingInvalid,
    PaymentInvalid,
    PaymentStateInvalid,
    PurchaseMismatch,
    PurchasePriceInvalid,
)
from services.distribution.rules.texts import is_id

SKEW: Final = timedelta(minutes=5)
CLEARED: Final = frozenset({PaymentState.CONFIRMED, PaymentState.PARTIALLY_REFUNDED, PaymentState.REFUNDED})

# A report never takes a payment back; a failed one may still be paid (a deposit can come late).
_RANK: Final = {
    PaymentState.NAMED: 0,
    PaymentState.PENDING: 1,
    PaymentState.FAILED: 2,
    PaymentState.PARTIALLY_PAID: 3,
    PaymentState.CONFIRMED: 4,
    PaymentState.PARTIALLY_REFUNDED: 5,
    PaymentState.REFUNDED: 6,
}


def check_purchase(order_id: str, price_micro: int) -> None:
    if not is_id(order_id):
        raise OrderInvalid(field="order_id")
    if not 1 <= price_micro <= MAX_MICRO:
        raise PurchasePriceInvalid(field="price_micro")


def check_same_purchase(known: Purchase, account_ref: str, price_micro: int) -> None:
    """Refuses an order id that stands for another purchase."""
    if (known.account_ref, known.price_micro) != (account_ref, price_micro):
        raise PurchaseMismatch(order_id=known.order_id)


def check_report(report: Report, now: datetime) -> None:
    """What can be said of a report without knowing the payment."""
    if not is_id(report.payment_id):
        raise PaymentInvalid(field="payment_id")
    if report.order_id and not is_id(report.order_id):
        raise OrderInvalid(field="order_id")
    if report.parent_payment_id and not is_id(report.parent_payment_id):
        raise PaymentInvalid(field="parent_payment_id")
    if report.state is PaymentState.NAMED:
        raise PaymentStateInvalid(field="state")
    _check_amounts(report)
    if report.paid_micro and report.cleared_at is None:
        raise PaymentClearingInvalid(field="cleared_at")
    if report.cleared_at is not None and report.cleared_at > now + SKEW:
        raise PaymentClearingInvalid(field="cleared_at")


def _check_amounts(report: Report) -> None:
    if not 0 <= report.paid_micro <= MAX_MICRO:
        raise PaymentAmountInvalid(field="paid_micro")
    if not 0 <= report.refunded_micro <= report.paid_micro:
        raise PaymentAmountInvalid(field="refunded_micro")
    fits = {
        PaymentState.PENDING: report.paid_micro == 0,
        PaymentState.FAILED: report.refunded_micro == 0,
        PaymentState.PARTIALLY_PAID: report.paid_micro > 0 and report.refunded_micro == 0,
        PaymentState.CONFIRMED: report.paid_micro > 0 and report.refunded_micro == 0,
        PaymentState.PARTIALLY_REFUNDED: 0 < report.refunded_micro < report.paid_micro,
        PaymentState.REFUNDED: 0 < report.refunded_micro == report.paid_micro,
    }
    if not fits[report.state]:
        raise PaymentAmountInvalid(field="state")


def merge(known: Payment, report: Report, *, order_known: bool, now: datetime) -> Payment:
    """The payment after a report. What is older than what is known changes nothing; amounts only grow."""
    if _RANK[report.state] < _RANK[known.state] or report.paid_micro < known.paid_micro:
        return known
    if report.refunded_micro < known.refunded_micro:
        return known
    merged = replace(
        known,
        order_id=known.order_id or report.order_id or None,
        state=report.state,
        paid_micro=report.paid_micro,
        refunded_micro=report.refunded_micro,
        cleared_at=known.cleared_at or report.cleared_at,
        source=report.source,
        unallocated_reason=_unallocated(known, report, order_known=order_known),
        reported_at=known.reported_at,
    )
    return known if merged == replace(known, source=merged.source) else replace(merged, reported_at=now)


def _unallocated(known: Payment, report: Report, *, order_known: bool) -> UnallocatedReason:
    """What an operator decided stands; else a payment that is odd, or of no known order, waits for one."""
    if known.dismissed or (known.reported_at is not None and known.unallocated_reason is UnallocatedReason.NONE):
        return UnallocatedReason.NONE
    if report.wrong_asset:
        return UnallocatedReason.WRONG_ASSET
    if report.parent_payment_id:
        return UnallocatedReason.CHILD_PAYMENT
    return UnallocatedReason.NONE if order_known else UnallocatedReason.UNKNOWN_ORDER


def is_cleared(payment: Payment) -> bool:
    """Whether its money is here, and it is known whose it is."""
    return payment.state in CLEARED and payment.unallocated_reason is UnallocatedReason.NONE


def purchase_state(price_micro: int, payments: Sequence[Payment]) -> PurchaseState:
    """How a purchase stands: by what all its payments brought, whatever each of them calls itself."""
    counted = [payment for payment in payments if payment.unallocated_reason is UnallocatedReason.NONE]
    paid = sum(payment.paid_micro for payment in counted)
    refunded = sum(payment.refunded_micro for payment in counted)
    if refunded:
        state = PaymentState.REFUNDED if refunded == paid else PaymentState.PARTIALLY_REFUNDED
    elif paid:
        state = PaymentState.CONFIRMED if paid >= price_micro else PaymentState.PARTIALLY_PAID
    elif counted and all(payment.state is PaymentState.FAILED for payment in counted):
        state = PaymentState.FAILED
    else:
        state = PaymentState.PENDING
    return PurchaseState(state, paid - refunded)


def reversible_micro(payment: Payment) -> int:
    """How much of what it funded a payment's refunds reach: the unspent part goes first (money rule 10)."""
    if not payment.refunded_micro:
        return 0
    return min(payment.spent_micro, max(0, payment.spent_micro + payment.refunded_micro - payment.paid_micro))


def reverse(charge: FundedCharge, *, reversible_micro: int, spent_micro: int) -> Reversal | None:
    """What is to be taken back of one charge now; None where everything was taken before.

    Its funding gives back in proportion to the payment's, rounded down; each share in proportion to the charge's real
    money, cumulatively: floor(share * refunded / funded) less what was reversed already (money rule 10). The foundation
    takes the rounding, the creator's part comes from what is pending, and the platform bears what was settled.
    """
    target = charge.funded_micro * reversible_micro // spent_micro
    refunded = max(0, target - charge.funding_refunded_micro)
    if not refunded:
        return None
    total = charge.refunded_micro + refunded

    def part(share_micro: int, reversed_micro: int) -> int:
        return max(0, share_micro * total // charge.paid_micro - reversed_micro)

    referrer = part(charge.referrer_micro, charge.referrer_reversed_micro)
    commons = part(charge.commons_micro, charge.commons_reversed_micro)
    community = part(charge.community_micro, charge.community_reversed_micro)
    clawed_back = min(referrer, charge.pending_micro)
    return Reversal(
        charge=charge,
        refunded_micro=refunded,
        clawed_back_micro=clawed_back,
        loss_micro=referrer - clawed_back,
        commons_micro=commons,
        community_micro=community,
        foundation_micro=refunded - referrer - commons - community,
    )
