"""What the provider's word for a payment means to the ledger."""

from dataclasses import dataclass
from decimal import ROUND_DOWN
from enum import IntEnum
from typing import Final

from libs.money import MAX_MICRO
from services.payout.provider.rows import Payment


class PaymentState(IntEnum):
    """Numbers of creator.distribution.v1.PaymentState."""

    PENDING = 1
    PARTIALLY_PAID = 2
    CONFIRMED = 3
    REFUNDED = 5
    FAILED = 6


_STATES: Final = {
    "waiting": PaymentState.PENDING,
    "confirming": PaymentState.PENDING,
    "confirmed": PaymentState.PENDING,
    "sending": PaymentState.PENDING,
    "partially_paid": PaymentState.PARTIALLY_PAID,
    "finished": PaymentState.CONFIRMED,
    "failed": PaymentState.FAILED,
    "expired": PaymentState.FAILED,
    "cancelled": PaymentState.FAILED,
    "refunded": PaymentState.REFUNDED,
}
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Report:
    """What the ledger is told of a payment, in micro-USD."""

    state: PaymentState
    paid_micro: int
    refunded_micro: int


def report(payment: Payment) -> Report | None:
    """None for a word that nobody knows, or a price that is not in dollars: people look.

    What was paid is the price, in the proportion of what came: a setting of the merchant's account lets a payment that
    is short finish, so the word alone proves nothing.
    """
    state = _STATES.get(payment.word)
    if state is None or payment.price_currency != "usd":
        return None
    paid_micro = _paid_micro(payment)
    if state in {PaymentState.PENDING, PaymentState.FAILED} or (state is PaymentState.REFUNDED and not paid_micro):
        return Report(state if state is not PaymentState.REFUNDED else PaymentState.FAILED, 0, 0)
    if state is PaymentState.REFUNDED:
        return Report(state, paid_micro, paid_micro)
    whole = int(payment.price_amount * _MICRO)
    short = paid_micro < whole
    if not paid_micro:
        return Report(PaymentState.PENDING, 0, 0)
    return Report(PaymentState.PARTIALLY_PAID if short else PaymentState.CONFIRMED, paid_micro, 0)


def _paid_micro(payment: Payment) -> int:
    """Price times the part that came, never more than the price."""
    whole = payment.price_amount * _MICRO
    if payment.pay_amount > 0:
        whole = whole * min(payment.actually_paid, payment.pay_amount) / payment.pay_amount
    return min(int(whole.to_integral_value(rounding=ROUND_DOWN)), MAX_MICRO)


def is_wrong_asset(payment: Payment, parent: Payment | None) -> bool:
    """Whether a repeated deposit came in another currency than the first."""
    return parent is not None and parent.pay_currency != payment.pay_currency
