"""The simulator's own door, `/control`: what is to go wrong, and what truly happened. The provider has none."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from deploy.local.nowpayments.book import Book
from deploy.local.nowpayments.callbacks import MISHAPS, Callback, Callbacks
from deploy.local.nowpayments.faults import Fault, Faults
from deploy.local.nowpayments.payments import Payments, answer
from deploy.local.nowpayments.refused import bad_request, not_found, read_object
from services.payout.provider.signatures import sign


class Control:
    """Faults, callbacks, rows, payments and the account, each by one call."""

    def __init__(
        self, book: Book, faults: Faults, callbacks: Callbacks, payments: Payments, pass_time: Callable[[], None]
    ) -> None:
        self._book = book
        self._faults = faults
        self._callbacks = callbacks
        self._payments = payments
        self._pass_time = pass_time

    def add_to(self, app: web.Application) -> None:
        add = app.router.add_route
        add("POST", "/control/faults", self.add_fault)
        add("DELETE", "/control/faults", self.clear)
        add("GET", "/control/state", self.tell_state)
        add("POST", "/control/account", self.set_account)
        add("POST", "/control/rows/{id}", self.set_row)
        add("POST", "/control/callbacks", self.add_mishap)
        add("POST", "/control/callbacks/release", self.release)
        add("POST", "/control/callbacks/again", self.again)
        add("POST", "/control/callbacks/forge", self.forge)
        add("POST", "/control/payments/{id}", self.set_payment)
        add("POST", "/control/payments/{id}/repeat", self.repeat_payment)

    async def add_fault(self, request: web.Request) -> web.Response:
        """`{on, kind, times?, seconds?, code?, message?}`; see `faults`."""
        self._faults.waiting.append(Fault.read(await read_object(request)))
        return web.Response(text="OK")

    async def clear(self, _request: web.Request) -> web.Response:
        """Nothing goes wrong any more."""
        self._faults.waiting.clear()
        self._callbacks.mishaps.clear()
        return web.Response(text="OK")

    async def tell_state(self, _request: web.Request) -> web.Response:
        """What truly happened: every row, whether its money left, custody, calls and callbacks."""
        self._pass_time()
        rows = [row.view() | {"sent": row.sent} for row in self._book.rows.values()]
        held = self._book.merchant.balance
        callbacks = self._callbacks
        return answer({
            "rows": rows,
            "balance": {coin: {"amount": each.amount, "pending": each.pending} for coin, each in held.items()},
            "calls": self._faults.calls,
            "faults": len(self._faults.waiting),
            "payments": [each.reply() for each in self._payments.all.values()],
            "callbacks": {
                "made": len(callbacks.made), "held": len(callbacks.held),
                "taken": callbacks.taken, "given_up": callbacks.given_up,
            },
        })  # fmt: skip

    async def set_account(self, request: web.Request) -> web.Response:
        """`{step_seconds?, ipn_url?, ipn_secret?, fee_paid_by?, unique_ids?, balance?: {coin: amount}}`."""
        body, merchant = await read_object(request), self._book.merchant
        if "step_seconds" in body:
            merchant.step = timedelta(seconds=float(body["step_seconds"]))
        for name in ("ipn_url", "ipn_secret", "fee_paid_by", "unique_ids"):
            setattr(merchant, name, body.get(name, getattr(merchant, name)))
        for coin, amount in body.get("balance", {}).items():
            merchant.coin(coin).amount = Decimal(str(amount))
        return web.Response(text="OK")

    async def set_row(self, request: web.Request) -> web.Response:
        """`{status?, shown?, frozen?, ending?, hidden_seconds?}` of a row by its id or unique_external_id."""
        body, row = await read_object(request), self._row(request.match_info["id"])
        for name in ("shown", "frozen", "ending"):
            setattr(row, name, body.get(name, getattr(row, name)))
        if "hidden_seconds" in body:
            row.hidden_until = self._book.clock.now() + timedelta(seconds=float(body["hidden_seconds"]))
        if "status" in body:
            row.moved_at = self._book.clock.now()
            self._book.move(row, str(body["status"]))
        self._pass_time()
        return answer(row.view())

    def _row(self, name: str) -> Any:
        for row in self._book.rows.values():
            if name in {row.id, row.unique_external_id}:
                return row
        raise not_found("Row")

    async def add_mishap(self, request: web.Request) -> web.Response:
        """`{kind, times?}`: what befalls the next callbacks."""
        body = await read_object(request)
        if body.get("kind") not in MISHAPS:
            raise bad_request(f"kind must be one of {', '.join(sorted(MISHAPS))}")
        self._callbacks.mishaps.append((body["kind"], int(body.get("times", 1))))
        return web.Response(text="OK")

    async def release(self, request: web.Request) -> web.Response:
        """`{order: same | reverse | random}`: what was held goes out."""
        body = await read_object(request)
        return answer({"released": self._callbacks.release(str(body.get("order", "same")))})

    async def again(self, request: web.Request) -> web.Response:
        """`{times?}`: everything that was ever signed goes out once more, oldest first."""
        body = await read_object(request)
        made = list(self._callbacks.made)
        for _ in range(int(body.get("times", 1))):
            for each in made:
                self._callbacks.send(each)
        return answer({"sent": len(made)})

    async def forge(self, request: web.Request) -> web.Response:
        """`{url?, body, secret?}`: a body that nobody here signed, with the signature of another secret."""
        asked = await read_object(request)
        raw = str(asked["body"]).encode()
        url = str(asked.get("url") or self._book.merchant.ipn_url)
        self._callbacks.send(Callback(url, raw, sign(raw, str(asked.get("secret", "a guess")))))
        return web.Response(text="OK")

    async def set_payment(self, request: web.Request) -> web.Response:
        """`{status, actually_paid?}`."""
        payment_id = int(request.match_info["id"])
        return answer(self._payments.move(payment_id, await read_object(request)).reply())

    async def repeat_payment(self, request: web.Request) -> web.Response:
        """`{price_amount?, pay_currency?}`: another deposit to the same address."""
        payment_id = int(request.match_info["id"])
        return answer(self._payments.repeat(payment_id, await read_object(request)).reply())
