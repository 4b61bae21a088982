"""Nouns of what buys credits, and of what refunds take back."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class PaymentState(IntEnum):
    """Numbered as in the API; NAMED is a payment that only a charge has spoken of."""

    NAMED = 0
    PENDING = 1
    PARTIALLY_PAID = 2
    CONFIRMED = 3
    PARTIALLY_REFUNDED = 4
    REFUNDED = 5
    FAILED = 6


class UnallocatedReason(IntEnum):
    """Numbered as in the API."""

    NONE = 0
    UNKNOWN_ORDER = 1
    CHILD_PAYMENT = 2
    WRONG_ASSET = 3


@dataclass(frozen=True, slots=True)
class Purchase:
    """What somebody bought, as billing announced it."""

    order_id: str
    account_ref: str
    price_micro: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """What is known of a payment; amounts are cumulative."""

    payment_id: str
    order_id: str | None = None
    state: PaymentState = PaymentState.NAMED
    paid_micro: int = 0
    refunded_micro: int = 0
    cleared_at: datetime | None = None
    source: int = 0
    unallocated_reason: UnallocatedReason = UnallocatedReason.NONE
    dismissed: bool = False
    reported_at: datetime | None = None
    spent_micro: int = 0
    reversed_micro: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One report about a payment."""

    payment_id: str
    order_id: str
    state: PaymentState
    paid_micro: int
    refunded_micro: int
    cleared_at: datetime | None
    source: int
    parent_payment_id: str = ""
    wrong_asset: bool = False


@dataclass(frozen=True, slots=True)
class PurchaseState:
    """How a purchase stands, from its payments."""

    state: PaymentState
    net_paid_micro: int


@dataclass(frozen=True, slots=True)
class FundedCharge:
    """A charge that a refunded payment funded, with what was taken back of it so far, by any payment."""

    distribution_id: str
    inference_charge_id: str
    creator_ref: str | None
    community_id: str
    accrued_at: datetime
    funded_micro: int
    """By this payment."""
    funding_refunded_micro: int
    """Of that, refunded so far."""
    paid_micro: int
    """All real money of the charge."""
    refunded_micro: int
    """Of that, refunded so far, by all its payments."""
    referrer_micro: int
    commons_micro: int
    community_micro: int
    foundation_micro: int
    referrer_reversed_micro: int
    commons_reversed_micro: int
    community_reversed_micro: int
    foundation_reversed_micro: int
    pending_micro: int
    """What of the creator's share is still pending; the rest was settled, and stays the creator's."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """What one application of a refund takes back of one charge."""

    charge: FundedCharge
    refunded_micro: int
    clawed_back_micro: int
    loss_micro: int
    commons_micro: int
    community_micro: int
    foundation_micro: int
