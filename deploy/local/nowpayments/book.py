"""The provider's own books: batches, custody, and time that passes."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from deploy.local.nowpayments import addresses
from deploy.local.nowpayments.merchant import PAYABLE, Merchant
from deploy.local.nowpayments.refused import bad_request, not_found, only
from deploy.local.nowpayments.rows import DEAD, TRIES_MAX, Batch, Withdrawal, is_due, next_state
from libs.clock import Clock
from services.payout.provider.totp import STEP_SECONDS, code_at, step_of

_FIELDS: Final = frozenset({
    "address", "currency", "amount", "extra_id", "ipn_callback_url", "unique_external_id", "payout_description",
    "fiat_amount", "fiat_currency",
})  # fmt: skip
_ROOT: Final = frozenset({"ipn_callback_url", "withdrawals", "execute_at", "interval"})
_DECIMALS_MAX: Final = 6
_ID_MAX: Final = 128


class Book:
    """Everything that was asked for, and what became of it. `changed` collects what the world must hear."""

    def __init__(self, merchant: Merchant, clock: Clock) -> None:
        self.merchant = merchant
        self.clock = clock
        self.batches: dict[str, Batch] = {}
        self.rows: dict[str, Withdrawal] = {}
        self.used_ids: set[str] = set()
        self.used_steps: set[int] = set()
        self.changed: list[tuple[Withdrawal, dict[str, Any]]] = []
        self._ids: Iterator[int] = itertools.count(5_000_000_001)

    def create(self, body: dict[str, Any], *, hide: timedelta | None = None) -> Batch:
        """Makes a batch; one bad row refuses all of it."""
        only(body, _ROOT)
        asked = body.get("withdrawals")
        if not isinstance(asked, list) or not asked:
            raise bad_request("withdrawals must contain at least 1 items")
        for index, row in enumerate(asked):
            self._check_shape(row, f"withdrawals[{index}].")
        for row in asked:
            self._check_row(row)
        self._check_balance(asked)
        self._check_ids(asked)
        now = self.clock.now()
        batch = Batch(str(next(self._ids)), now)
        self.batches[batch.id] = batch
        for row in asked:
            made = self._make(batch, row, body.get("ipn_callback_url"), now)
            made.hidden_until = now + hide if hide else None
            batch.rows.append(made)
        self.changed += [(row, row.callback()) for row in batch.rows]
        return batch

    def _check_shape(self, row: object, prefix: str) -> None:
        if not isinstance(row, dict):
            raise bad_request(f"{prefix[:-1]} must be of type object")
        only(row, _FIELDS, prefix)
        for name in ("address", "currency"):
            if not isinstance(row.get(name), str) or not row[name]:
                raise bad_request(f"{prefix}{name} is required")
        amount = row.get("amount")
        if isinstance(amount, bool) or not isinstance(amount, (int, Decimal)) or amount <= 0:
            raise bad_request(f"{prefix}amount must be a number")
        if -int(Decimal(amount).as_tuple().exponent) > _DECIMALS_MAX:
            raise bad_request(f"{prefix}amount must have no more than 6 decimal places")
        external = row.get("unique_external_id", "")
        if not isinstance(external, str) or len(external) > _ID_MAX:
            raise bad_request(f"{prefix}unique_external_id must be a string")

    def _check_row(self, row: dict[str, Any]) -> None:
        currency = row["currency"].lower()
        self.check_address(row["address"], currency)
        least = Decimal(PAYABLE[currency][1])
        if row["amount"] < least:
            message = f"Withdrawal min amount is {least} {currency}"
            raise bad_request(message, "BAD_CREATE_WITHDRAWAL_REQUEST")

    def check_address(self, address: str, currency: str) -> None:
        """Refuses an address that does not belong to the currency."""
        if currency not in PAYABLE or not addresses.fits(address, currency):
            message = f"Invalid payout_address: [{currency}] [{address}]"
            raise bad_request(message, "BAD_CREATE_WITHDRAWAL_REQUEST")

    def _check_balance(self, asked: Sequence[dict[str, Any]]) -> None:
        for currency in {row["currency"].lower() for row in asked}:
            requested = sum(
                (Decimal(row["amount"]) for row in asked if row["currency"].lower() == currency), Decimal(0)
            )
            held = self.merchant.coin(currency).amount
            if requested > held:
                values = {currency: {"requested": float(requested), "actualBalance": float(held)}}
                code = "BAD_CREATE_WITHDRAWAL_REQUEST"
                raise bad_request("Insufficient balance", code, current_values=values)

    def _check_ids(self, asked: Sequence[dict[str, Any]]) -> None:
        given = [row["unique_external_id"] for row in asked if row.get("unique_external_id")]
        taken = len(set(given)) != len(given) or self.used_ids & set(given)
        if taken and self.merchant.unique_ids:
            raise bad_request("unique_external_id already exists", "BAD_REQUEST")
        self.used_ids |= set(given)

    def _make(self, batch: Batch, row: dict[str, Any], url: str | None, now: datetime) -> Withdrawal:
        made = Withdrawal(
            id=str(next(self._ids)),
            batch_id=batch.id,
            address=row["address"],
            currency=row["currency"].lower(),
            amount=Decimal(row["amount"]),
            extra_id=row.get("extra_id"),
            unique_external_id=row.get("unique_external_id"),
            ipn_callback_url=row.get("ipn_callback_url") or url,
            created_at=now,
        )
        self.rows[made.id] = made
        return made

    def verify(self, batch_id: str, code: object) -> Batch:
        """Lets a batch go: its amounts leave the free balance."""
        batch = self.batches.get(batch_id)
        if batch is None:
            raise not_found("Payout")
        if batch.verified_at is not None:
            raise bad_request("Payout is already verified", "BAD_REQUEST")
        if batch.tries >= TRIES_MAX or any(row.status in DEAD for row in batch.rows):
            raise bad_request("Payout can not be verified", "BAD_REQUEST")
        batch.tries += 1
        self._use_step(code)
        now = self.clock.now()
        batch.verified_at = now
        for row in batch.rows:
            row.requested_at = row.moved_at = now
            coin = self.merchant.coin(row.currency)
            coin.amount -= row.amount
            coin.pending += row.amount
            row.reserved = True
            self.move(row, "WAITING")
        return batch

    def _use_step(self, code: object) -> None:
        """One code is good for one batch."""
        now, step = self.clock.now(), timedelta(seconds=STEP_SECONDS)
        for instant in (now, now - step, now + step):
            if code == code_at(self.merchant.totp_secret, instant) and step_of(instant) not in self.used_steps:
                self.used_steps.add(step_of(instant))
                return
        raise bad_request("Invalid verification code", "BAD_REQUEST")

    def cancel(self, withdrawal_id: str) -> Withdrawal:
        """Ordinary payouts cannot be cancelled; nothing here is scheduled."""
        if withdrawal_id not in self.rows:
            raise not_found("Payout")
        raise bad_request("Only scheduled payouts can be cancelled", "BAD_REQUEST")

    def pass_time(self) -> None:
        """Whatever is due by now happens, one state at a time."""
        now = self.clock.now()
        for batch in self.batches.values():
            late = batch.verified_at is None and now - batch.created_at >= self.merchant.verify_within
            for row in batch.rows if late else ():
                if row.status not in DEAD and not row.frozen:
                    self.move(row, "REJECTED")
        for row in self.rows.values():
            while is_due(row, now, self.merchant.step):
                row.moved_at = (row.moved_at or now) + self.merchant.step
                self.move(row, next_state(row))

    def move(self, row: Withdrawal, status: str) -> None:
        """Puts a row into a state, with its money."""
        row.status, row.updated_at = status, self.clock.now()
        coin = self.merchant.coin(row.currency)
        if status in {"SENDING", "FINISHED"} and not row.sent:
            row.fee, row.fee_paid_by = Decimal(PAYABLE[row.currency][0]), self.merchant.fee_paid_by
        if status == "FINISHED" and not row.sent:
            row.sent, row.hash = True, row.chain_hash()
            if row.reserved:
                coin.pending -= row.amount
            else:
                coin.amount -= row.amount
            coin.amount -= row.fee if row.fee_paid_by == "sender" and row.fee else 0
            row.reserved = False
        if status in DEAD and row.reserved:
            coin.pending -= row.amount
            coin.amount += row.amount
            row.reserved = False
        self.changed.append((row, row.callback()))

    def find(self, some_id: str) -> Batch:
        """The batch of a batch's or a withdrawal's id."""
        now = self.clock.now()
        batch = self.batches.get(some_id)
        if batch is None and some_id in self.rows:
            batch = self.batches[self.rows[some_id].batch_id]
        if batch is None or any(row.hidden_until and row.hidden_until > now for row in batch.rows):
            raise not_found("Payout")
        return batch

    def listed(self) -> list[Withdrawal]:
        """Every row that is shown, newest first."""
        now = self.clock.now()
        return [row for row in reversed(self.rows.values()) if not (row.hidden_until and row.hidden_until > now)]


def fee_of(currency: str) -> Decimal:
    return Decimal(payable(currency)[0])


def payable(ticker: str) -> tuple[str, str, str]:
    found = PAYABLE.get(ticker.lower())
    if found is None:
        raise bad_request(f"Currency {ticker} is not available", "CURRENCY_UNAVAILABLE")
    return found
