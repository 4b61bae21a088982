"""The payment side: deposits that buyers make, and what the provider says of them."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from deploy.local.nowpayments.book import payable
from deploy.local.nowpayments.callbacks import Callbacks
from deploy.local.nowpayments.refused import bad_request, not_found, only, read_object
from deploy.local.nowpayments.rows import stamp
from libs.clock import Clock

STATES: Final = (
    "waiting", "confirming", "confirmed", "sending", "partially_paid", "finished", "failed", "refunded", "expired",
    "cancelled",
)  # fmt: skip
_FIELDS: Final = frozenset({
    "price_amount", "price_currency", "pay_currency", "pay_amount", "ipn_callback_url", "order_id",
    "order_description", "payout_address", "payout_currency", "payout_extra_id", "is_fixed_rate",
    "is_fee_paid_by_user", "case",
})  # fmt: skip
_PLACES: Final = Decimal("0.00000001")


@dataclass
class Payment:
    """One deposit address and what came to it."""

    payment_id: int
    price_amount: Decimal
    price_currency: str
    pay_amount: Decimal
    pay_currency: str
    order_id: str | None
    order_description: str | None
    url: str | None
    created_at: datetime
    status: str = "waiting"
    actually_paid: Decimal = Decimal(0)
    outcome_amount: Decimal | None = None
    outcome_currency: str = "usdttrc20"
    parent_payment_id: int | None = None
    children: list[int] = field(default_factory=list)
    updated_at: datetime | None = None

    def view(self) -> dict[str, Any]:
        """As `GET /payment/:id` and callbacks have it: ids are numbers."""
        return {
            "payment_id": self.payment_id,
            "parent_payment_id": self.parent_payment_id,
            "invoice_id": None,
            "payment_status": self.status,
            "pay_address": f"pay-{self.payment_id}",
            "payin_extra_id": None,
            "price_amount": self.price_amount,
            "price_currency": self.price_currency,
            "pay_amount": self.pay_amount,
            "pay_currency": self.pay_currency,
            "actually_paid": self.actually_paid,
            "actually_paid_at_fiat": 0,
            "order_id": self.order_id,
            "order_description": self.order_description,
            "purchase_id": str(self.payment_id),
            "outcome_amount": self.outcome_amount,
            "outcome_currency": self.outcome_currency,
            "payment_extra_ids": self.children or None,
        }

    def callback(self) -> dict[str, Any]:
        fee = {
            "currency": self.outcome_currency,
            "depositFee": Decimal("0.000083"),
            "serviceFee": 0,
            "withdrawalFee": 0,
        }
        moved = self.updated_at or self.created_at
        return self.view() | {"fee": fee, "updated_at": int(moved.timestamp() * 1000)}

    def reply(self) -> dict[str, Any]:
        """As `GET` has it: times in words, and a word where a number could be."""
        times = {"created_at": stamp(self.created_at), "updated_at": stamp(self.updated_at or self.created_at)}
        return self.view() | times | {"type": "crypto2crypto", "burning_percent": "null", "payin_hash": None}


class Payments:
    """All payments of the merchant."""

    def __init__(self, clock: Clock, callbacks: Callbacks) -> None:
        self.all: dict[int, Payment] = {}
        self._clock = clock
        self._callbacks = callbacks
        self._ids: Iterator[int] = itertools.count(6_000_000_001)

    def create(self, body: dict[str, Any]) -> Payment:
        only(body, _FIELDS)
        for name in ("price_amount", "price_currency", "pay_currency"):
            if name not in body:
                raise bad_request(f"{name} is required")
        worth = Decimal(payable(str(body["pay_currency"]))[2])
        price = _amount(body["price_amount"])
        payment = Payment(
            next(self._ids),
            price,
            str(body["price_currency"]).lower(),
            (price / worth).quantize(_PLACES),
            str(body["pay_currency"]).lower(),
            body.get("order_id"),
            body.get("order_description"),
            body.get("ipn_callback_url"),
            self._clock.now(),
        )
        self.all[payment.payment_id] = payment
        return payment

    def move(self, payment_id: int, body: dict[str, Any]) -> Payment:
        """Puts a payment into a state; what came of it in full, unless `actually_paid` says less."""
        payment = self.find(str(payment_id))
        if body["status"] not in STATES:
            raise bad_request(f"status must be one of {', '.join(STATES)}")
        payment.status, payment.updated_at = body["status"], self._clock.now()
        if payment.status in {"finished", "partially_paid"}:
            payment.actually_paid = _amount(body.get("actually_paid", payment.pay_amount))
            payment.outcome_amount = payment.actually_paid
            payment.outcome_currency = payment.pay_currency
        self._callbacks.tell(payment.callback(), payment.url)
        return payment

    def repeat(self, payment_id: int, body: dict[str, Any]) -> Payment:
        """A second deposit to the same address, in this or another currency: a payment of its own."""
        parent = self.find(str(payment_id))
        child = self.create({
            "price_amount": _amount(body.get("price_amount", parent.price_amount)),
            "price_currency": parent.price_currency,
            "pay_currency": body.get("pay_currency", parent.pay_currency),
            "order_id": parent.order_id,
            "ipn_callback_url": parent.url,
        })  # fmt: skip
        child.parent_payment_id = parent.payment_id
        parent.children.append(child.payment_id)
        return self.move(child.payment_id, {"status": "finished"})

    def find(self, text: str) -> Payment:
        if not text.isdecimal():
            raise bad_request("Payment id must be a number")
        payment = self.all.get(int(text))
        if payment is None:
            raise not_found("Payment")
        return payment

    async def post(self, request: web.Request) -> web.Response:
        """`POST /v1/payment` → 201; the id is a text here, and a number everywhere else."""
        payment = self.create(await read_object(request))
        return answer(payment.reply() | {"payment_id": str(payment.payment_id)}, HTTPStatus.CREATED)

    async def get(self, request: web.Request) -> web.Response:
        """`GET /v1/payment/:id`."""
        return answer(self.find(request.match_info["id"]).reply())

    async def list(self, request: web.Request) -> web.Response:
        """`GET /v1/payment/`, newest first."""
        limit, page = int(request.query.get("limit", "10")), int(request.query.get("page", "0"))
        if not 1 <= limit <= 500:  # noqa: PLR2004
            raise bad_request("limit must be between 1 and 500")
        rows = [each.reply() for each in reversed(self.all.values())]
        shown = rows[page * limit : (page + 1) * limit]
        pages = -(-len(rows) // limit)
        return answer({"data": shown, "limit": limit, "page": page, "pagesCount": pages, "total": len(rows)})


def _amount(value: object) -> Decimal:
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        raise bad_request("amounts must be numbers") from None
    if not found.is_finite() or found < 0:
        raise bad_request("amounts must be numbers")
    return found


def answer(body: object, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """JSON with exact numbers."""
    return web.Response(text=exact(body), status=status, content_type="application/json")


def exact(value: object) -> str:
    """JSON in which a Decimal is the number it is."""
    # The client's own writer is not used: it is what is tested.
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{exact(str(key))}:{exact(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(exact(each) for each in value) + "]"
    return json.dumps(value)
