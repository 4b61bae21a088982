"""Handing payouts over: when to look, when to try again, what the provider's final row comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Final

from services.payout.model import Event, Stage
from services.payout.model.payouts import Payout
from services.payout.model.submissions import Attempt
from services.payout.provider.rows import Row, Standing, standing_of

RETRIES_MAX: Final = 3
"""How often a refusal that may pass is answered by another attempt."""
VERIFY_TRIES_MAX: Final = 3
"""Of the ten that the provider allows; a person looks before the rest is used."""
VERIFY_WITHIN: Final = timedelta(minutes=55)
"""The provider drops what is not verified within an hour."""
STALLED_AFTER: Final = timedelta(hours=24)
PROMISED_WITHIN: Final = timedelta(hours=72)
SEARCH_BEFORE: Final = timedelta(minutes=5)
"""How much earlier than our own note a row may be dated: clocks differ."""
_FIRST_CHECK: Final = timedelta(seconds=60)
_LAST_CHECK: Final = timedelta(minutes=15)
_FIRST_RETRY: Final = timedelta(minutes=5)
_UNIT: Final = Decimal("0.000001")


def next_check(checks: int) -> timedelta:
    """How long until an attempt is looked at again: a minute at first, a quarter of an hour in the end."""
    return min(_FIRST_CHECK * (1 << min(checks, 10)), _LAST_CHECK)


def next_retry(tries: int) -> timedelta:
    """How long until another attempt: 5, 20, 80 minutes."""
    return _FIRST_RETRY * (1 << 2 * min(tries, 10))


def asked_amount(payout: Payout, fee_paid_by: str) -> Decimal:
    """What the provider is asked to send, in units of the currency: where the receiver pays the fee, the gross."""
    units = payout.net_amount
    if fee_paid_by == "receiver":
        gross, net = Decimal(payout.amount_micro), Decimal(payout.net_micro)
        units = units * gross / net
    return units.quantize(_UNIT, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a finished row comes to. `fee_micro` is whatever of the payout did not reach its creator."""

    amount: Decimal
    fee_micro: int


def sent(payout: Payout, row: Row, fee_paid_by: str) -> Sent:
    """Gross, fee and net of the final row: what arrived is the creator's, the rest is the fee.

    A receiver's fee is taken out of the row's amount; a sender's comes from custody on top, so the creator's fee is the
    quoted one and the difference is the platform's.
    """
    paid_by = row.fee_paid_by or fee_paid_by
    arrived = row.amount - (row.fee or Decimal(0)) if paid_by == "receiver" else row.amount
    asked = asked_amount(payout, fee_paid_by)
    gross = payout.amount_micro if fee_paid_by == "receiver" else payout.net_micro
    sent_micro = int(gross * arrived / asked)
    return Sent(arrived, payout.amount_micro - min(max(sent_micro, 1), payout.amount_micro))


def mismatches(payout: Payout, attempt: Attempt, row: Row) -> list[str]:
    """In what a row is not what was asked for."""
    asked = {
        "amount": row.amount == attempt.amount,
        "currency": row.currency == payout.currency,
        "address": payout.address is None or row.address.lower() == payout.address.lower(),
        "unique_external_id": row.unique_external_id in {"", attempt.unique_external_id},
    }
    return [name for name, fits in asked.items() if not fits]


def is_older(attempt: Attempt, row: Row) -> bool:
    """Whether a row tells less than is known: the state of an attempt never goes back."""
    if not attempt.provider_state or row.standing is Standing.UNHEARD:
        return False
    return row.standing < standing_of(attempt.provider_state)


def is_late(created_at: datetime | None, now: datetime) -> bool:
    """Whether a batch is too old to be verified."""
    return created_at is not None and now - created_at >= VERIFY_WITHIN


def course(stage: Stage, standing: Standing, *, sound: bool) -> Sequence[tuple[Event, str]]:
    """What a verified row means for its payout: what happens to it, each with its reason."""
    if standing is Standing.FINISHED and sound:
        return [*_ACCEPTED.get(stage, ()), (Event.COMPLETE, "")]
    if standing.is_refused:
        failed = stage is Stage.STALLED
        return [(Event.FAIL, "PROVIDER_REJECTED") if failed else (Event.REJECT, "PROVIDER_REJECTED")]
    moved = _ACCEPTED.get(stage, ())
    if stage is Stage.STALLED:
        return []
    if not sound:
        return [*moved, (Event.STALL, "PROVIDER_MISMATCH")]
    if standing is Standing.FAILED:
        return [*moved, (Event.STALL, "PROVIDER_FAILED")]
    if standing is Standing.UNHEARD:
        return [*moved, (Event.STALL, "PROVIDER_STATE_UNKNOWN")]
    return moved


_ACCEPTED: Final = {
    Stage.SUBMITTING: ((Event.ACCEPT, ""),),
    Stage.UNKNOWN: ((Event.ACCEPT, ""),),
}
