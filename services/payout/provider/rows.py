"""The provider's rows, read leniently: every shape that was seen in the wild, and exact amounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from typing import Any, Final

from services.payout.provider.trouble import Unknown


class Standing(IntEnum):
    """How a row stands, by rank: it never goes down, and the last three exclude each other."""

    UNHEARD = -1
    """A word that nobody documented: money may have moved."""
    CREATED = 0
    WAITING = 1
    PROCESSING = 2
    SENDING = 3
    FAILED = 4
    """Not final at this provider: it may still be sent."""
    FINISHED = 5
    REJECTED = 6
    CANCELLED = 7

    @property
    def is_refused(self) -> bool:
        """Nothing moved, and nothing will."""
        return self in {Standing.REJECTED, Standing.CANCELLED}

    @property
    def is_final(self) -> bool:
        return self >= Standing.FINISHED


_WORDS: Final = {
    "NEW": Standing.CREATED,
    "CREATING": Standing.CREATED,
    "WAITING": Standing.WAITING,
    "PROCESSING": Standing.PROCESSING,
    "SENDING": Standing.SENDING,
    "FAILED": Standing.FAILED,
    "FINISHED": Standing.FINISHED,
    "REJECTED": Standing.REJECTED,
    "CANCELLED": Standing.CANCELLED,
    "CANCELED": Standing.CANCELLED,
}
WORD_MAX: Final = 40
_TEXT_MAX: Final = 500
_DIGITS_MAX: Final = 30
"""Powers of ten that no amount goes beyond, either way."""
_YEARS: Final = (2000, 2200)


def standing_of(word: str) -> Standing:
    """What the provider's word means."""
    return _WORDS.get(word.upper(), Standing.UNHEARD)


@dataclass(frozen=True, slots=True)
class Row:
    """One payout as the provider has it; amounts in units of its currency."""

    provider_id: str
    batch_id: str
    word: str
    """The provider's own word, upper case."""
    currency: str
    address: str
    amount: Decimal
    fee: Decimal | None
    fee_paid_by: str
    """"sender", "receiver", or empty while nobody said."""
    transaction_hash: str
    unique_external_id: str
    created_at: datetime | None
    requested_at: datetime | None

    @property
    def standing(self) -> Standing:
        return standing_of(self.word)

    @property
    def was_verified(self) -> bool:
        """Whether its batch was verified, so that money may move."""
        return self.requested_at is not None or self.standing not in {Standing.CREATED, Standing.WAITING}


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as the provider has it."""

    payment_id: str
    parent_payment_id: str
    order_id: str
    word: str
    """The provider's own word, lower case."""
    price_amount: Decimal
    price_currency: str
    pay_amount: Decimal
    pay_currency: str
    actually_paid: Decimal
    outcome_amount: Decimal | None
    outcome_currency: str
    updated_at: datetime | None


def read_rows(answer: Any) -> tuple[Row, ...]:
    """Rows of a batch object, a list, `{"payouts": […]}` or a single row. Raises Unknown for anything else."""
    try:
        if isinstance(answer, dict):
            for name in ("withdrawals", "payouts"):
                if name in answer:
                    return _rows(answer[name], _text(answer.get("id")))
            return _rows([answer], "")
        return _rows(answer, "")
    except (ValueError, InvalidOperation):
        raise Unknown("UNREADABLE") from None


def _rows(found: Any, batch_id: str) -> tuple[Row, ...]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError
    return tuple(_row(each, batch_id) for each in found)


def _row(row: Mapping[str, Any], batch_id: str) -> Row:
    if not _text(row.get("id")):
        raise ValueError
    return Row(
        provider_id=_text(row["id"]),
        batch_id=_text(row.get("batch_withdrawal_id")) or batch_id,
        word=_text(row.get("status"))[:WORD_MAX].upper(),
        currency=_text(row.get("currency")).lower(),
        address=_text(row.get("address")),
        amount=amount(row.get("amount")) or Decimal(0),
        fee=amount(row.get("fee")),
        fee_paid_by=_text(row.get("fee_paid_by")).lower(),
        transaction_hash=_text(row.get("hash")),
        unique_external_id=_text(row.get("unique_external_id")),
        created_at=_instant(row.get("created_at") or row.get("createdAt")),
        requested_at=_instant(row.get("requested_at") or row.get("requestedAt")),
    )


def read_payment(answer: Any) -> Payment:
    """Raises Unknown where it is no payment."""
    try:
        return Payment(
            payment_id=_named(answer["payment_id"]),
            parent_payment_id=_text(answer.get("parent_payment_id")),
            order_id=_text(answer.get("order_id")),
            word=_named(answer["payment_status"])[:WORD_MAX].lower(),
            price_amount=amount(answer.get("price_amount")) or Decimal(0),
            price_currency=_text(answer.get("price_currency")).lower(),
            pay_amount=amount(answer.get("pay_amount")) or Decimal(0),
            pay_currency=_text(answer.get("pay_currency")).lower(),
            actually_paid=amount(answer.get("actually_paid")) or Decimal(0),
            outcome_amount=amount(answer.get("outcome_amount")),
            outcome_currency=_text(answer.get("outcome_currency")).lower(),
            updated_at=_instant(answer.get("updated_at")),
        )
    except (ValueError, InvalidOperation, TypeError, KeyError, AttributeError):
        raise Unknown("UNREADABLE") from None


def amount(value: object) -> Decimal | None:
    """An amount from a number or a text, exact; None where there is none. Raises InvalidOperation, ValueError."""
    text = _text(value)
    if not text:
        return None
    found = Decimal(text)
    if not found.is_finite() or found < 0 or (found and not -_DIGITS_MAX <= found.adjusted() <= _DIGITS_MAX):
        raise ValueError
    return found


def _text(value: object) -> str:
    """Ids and words as text; the provider may write null as a word. Raises ValueError for what no column would take."""
    if value is None or isinstance(value, (dict, list, bool)):
        return ""
    text = str(value)
    if len(text) > _TEXT_MAX or not text.isprintable():
        raise ValueError
    return "" if text == "null" else text


def _named(value: object) -> str:
    text = _text(value)
    if not text:
        raise ValueError
    return text


def _instant(value: object) -> datetime | None:
    text = _text(value)
    if not text or text.isdecimal():
        return None
    found = datetime.fromisoformat(text)
    if found.tzinfo is None or not _YEARS[0] <= found.year <= _YEARS[1]:
        raise ValueError
    return found
