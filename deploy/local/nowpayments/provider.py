"""The provider as its API shows it: NOWPayments v1, its paths, bodies and refusals.

What it does not know answers 404 as the provider would answer an unknown path; nothing pretends to have worked.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Final

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from deploy.local.nowpayments import faults
from deploy.local.nowpayments.book import Book, fee_of, payable
from deploy.local.nowpayments.callbacks import Callbacks
from deploy.local.nowpayments.control import Control
from deploy.local.nowpayments.faults import Faults
from deploy.local.nowpayments.merchant import Merchant
from deploy.local.nowpayments.payments import Payments, answer
from deploy.local.nowpayments.refused import Handler, Refused, bad_request, problems, read_object
from deploy.local.nowpayments.rows import Batch, stamp
from libs.clock import Clock

TOKEN_LIFE: Final = timedelta(minutes=5)
MERCHANT_ID: Final = "5826259115"
BODY_BYTES_MAX: Final = 256 * 1024
LIST_MAX: Final = 100
_WATCH_S: Final = 0.05


class Provider:
    """`clock` decides when a token is old and what is due; `seed` orders what is shuffled."""

    def __init__(self, merchant: Merchant, clock: Clock, token_key: bytes, *, seed: int = 0) -> None:
        self.merchant = merchant
        self.book = Book(merchant, clock)
        self.callbacks = Callbacks(merchant, seed)
        self.payments = Payments(clock, self.callbacks)
        self.faults = Faults()
        self._clock = clock
        self._key = OctKey.import_key(token_key)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[problems], client_max_size=BODY_BYTES_MAX)
        add, payments = app.router.add_route, self.payments
        add("GET", "/v1/status", self.tell_status)
        add("POST", "/v1/auth", self.faults.around("auth", self.authenticate))
        add("GET", "/v1/balance", self._way("balance", self.tell_balance))
        add("POST", "/v1/payout", self._way("create", self.create, token=True))
        add("GET", "/v1/payout", self._way("list", self.list_payouts))
        add("GET", "/v1/payout/fee", self._way("fee", self.tell_fee))
        add("POST", "/v1/payout/validate-address", self._way("validate", self.validate_address))
        add("GET", "/v1/payout-withdrawal/min-amount/{coin}", self._way("minimum", self.tell_minimum))
        add("GET", "/v1/payout/{id}", self._way("look_up", self.look_up))
        add("POST", "/v1/payout/{id}/verify", self._way("verify", self.verify, token=True))
        add("POST", "/v1/payout/{id}/cancel", self._way("cancel", self.cancel, token=True))
        add("GET", "/v1/estimate", self._way("estimate", self.estimate))
        add("POST", "/v1/payment", self._way("create_payment", payments.post))
        add("GET", "/v1/payment/", self._way("list_payments", payments.list, token=True))
        add("GET", "/v1/payment/{id}", self._way("payment", payments.get))
        Control(self.book, self.faults, self.callbacks, payments, self.pass_time).add_to(app)
        app.cleanup_ctx.append(self._live)
        return app

    async def _live(self, _app: web.Application) -> AsyncIterator[None]:
        """Time passes and callbacks go out for as long as it answers."""
        parts = [asyncio.create_task(part()) for part in (self._watch, self.callbacks.deliver)]
        yield
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.pass_time()
            await asyncio.sleep(_WATCH_S)

    def pass_time(self) -> None:
        """What is due happens, and the world is told."""
        self.book.pass_time()
        changed, self.book.changed = self.book.changed, []
        for row, body in changed:
            self.callbacks.tell(body, row.ipn_callback_url)

    def _way(self, name: str, handler: Handler, *, token: bool = False) -> Handler:
        async def timely(request: web.Request) -> web.StreamResponse:
            self.pass_time()
            try:
                return await handler(request)
            finally:
                self.pass_time()

        return self.faults.around(name, self.guarded(timely, token=token))

    def guarded(self, handler: Handler, *, token: bool = False) -> Handler:
        """Checks in the provider's order: API key, client address, and where `token` says so the bearer token."""

        async def checked(request: web.Request) -> web.StreamResponse:
            self.check_api_key(request)
            self._check_address(request)
            if token:
                self.check_token(request)
            return await handler(request)

        return checked

    def check_api_key(self, request: web.Request) -> None:
        """Refuses a missing or wrong `x-api-key`."""
        given = request.headers.get("x-api-key", "")
        if not _same(given, self.merchant.api_key):
            raise Refused(HTTPStatus.FORBIDDEN, "INVALID_API_KEY", "Invalid api key")

    def _check_address(self, request: web.Request) -> None:
        allowed = self.merchant.allowed_addresses
        if allowed and request.remote not in allowed:
            message = f"Access denied | Invalid IP - {request.remote or 'undefined'}"
            raise Refused(HTTPStatus.FORBIDDEN, "ENDPOINT_NOT_ALLOWED", message)

    def check_token(self, request: web.Request) -> None:
        """Refuses a missing, forged or old bearer token with 401, which a client answers by logging in again."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            message = "Authorization header is empty (Bearer JWTtoken is required)"
            raise Refused(HTTPStatus.UNAUTHORIZED, "AUTH_REQUIRED", message)
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
        except (JoseError, ValueError):
            claims = {}
        if claims.get("exp", 0) <= self._now():
            raise Refused(HTTPStatus.UNAUTHORIZED, "AUTH_REQUIRED", "Bearer JWTtoken is expired or invalid")

    async def tell_status(self, _request: web.Request) -> web.Response:
        """`GET /v1/status`, open to all."""
        return web.json_response({"message": "OK"})

    async def authenticate(self, request: web.Request) -> web.Response:
        """`POST /v1/auth {email, password}` → `{token}`, valid five minutes; the API key is not looked at."""
        body = await read_object(request)
        for name in ("email", "password"):
            if not isinstance(body.get(name), str):
                raise bad_request(f"{name} is required")
        known = _same(body["email"], self.merchant.email) & _same(body["password"], self.merchant.password)
        if not known:
            raise Refused(HTTPStatus.FORBIDDEN, "ACCESS_DENIED", "Access denied")
        issued_at = self._now()
        claims = {"id": MERCHANT_ID, "iat": issued_at, "exp": issued_at + int(TOKEN_LIFE.total_seconds())}
        return web.json_response({"token": jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, self._key)})

    async def tell_balance(self, _request: web.Request) -> web.Response:
        """`GET /v1/balance`: JSON numbers, coins that were never held are missing."""
        held = sorted(self.merchant.balance.items())
        return answer({coin: {"amount": each.amount, "pendingAmount": each.pending} for coin, each in held})

    async def create(self, request: web.Request) -> web.Response:
        """`POST /v1/payout` → 200, nothing moves yet."""
        batch = self.book.create(await read_object(request), hide=faults.hidden(request))
        for row in batch.rows:
            fault = faults.of(request, "reject", "fail", "freeze")
            row.ending = {"reject": "REJECTED", "fail": "FAILED"}.get(fault.kind if fault else "", row.ending)
            row.frozen = fault is not None and fault.kind == "freeze"
        return answer({"id": batch.id, "withdrawals": [row.view() for row in batch.rows]})

    async def verify(self, request: web.Request) -> web.Response:
        """`POST /v1/payout/:batch_id/verify` → the bare text OK."""
        body = await read_object(request)
        self.book.verify(request.match_info["id"], body.get("verification_code"))
        return web.Response(text="OK")

    async def look_up(self, request: web.Request) -> web.Response:
        """`GET /v1/payout/:id` of a batch or a withdrawal → its batch."""
        return answer(_batch(self.book.find(request.match_info["id"]), _style(request)))

    async def list_payouts(self, request: web.Request) -> web.Response:
        """`GET /v1/payout`: newest first; there is no filter by unique_external_id, and no total."""
        query = request.query
        try:
            limit, page = int(query.get("limit", "10")), int(query.get("page", "0"))
            since = datetime.fromisoformat(query["date_from"]) if "date_from" in query else None
        except ValueError:
            raise bad_request("limit, page and date_from must be readable") from None
        found = [row for row in self.book.listed() if since is None or row.created_at >= since]
        for name, attribute in (("batch_id", "batch_id"), ("status", "status")):
            found = [row for row in found if query.get(name, getattr(row, attribute)) == getattr(row, attribute)]
        limit = max(1, min(limit, LIST_MAX))
        shown = found[page * limit : (page + 1) * limit]
        return answer({"payouts": [row.view(style=_style(request)) for row in shown]})

    async def cancel(self, request: web.Request) -> web.Response:
        """`POST /v1/payout/:withdrawal_id/cancel`: for scheduled ones."""
        self.book.cancel(request.match_info["id"])
        return web.Response(text="OK")

    async def validate_address(self, request: web.Request) -> web.Response:
        """`POST /v1/payout/validate-address` → OK, or 400."""
        body = await read_object(request)
        self.book.check_address(str(body.get("address")), str(body.get("currency")).lower())
        return web.Response(text="OK")

    async def tell_fee(self, request: web.Request) -> web.Response:
        """`GET /v1/payout/fee`: an estimate; the ticker comes back in upper case."""
        currency = request.query.get("currency", "")
        payable(currency)
        return answer({"currency": currency.upper(), "fee": fee_of(currency)})

    async def tell_minimum(self, request: web.Request) -> web.Response:
        """`GET /v1/payout-withdrawal/min-amount/:coin`."""
        return answer({"success": True, "result": Decimal(payable(request.match_info["coin"])[1])})

    async def estimate(self, request: web.Request) -> web.Response:
        """`GET /v1/estimate` from dollars."""
        query = request.query
        worth = Decimal(payable(query.get("currency_to", ""))[2])
        asked = Decimal(query.get("amount", "0"))
        amount = (asked / worth).quantize(Decimal("0.00000001"))
        both = {"currency_from": query.get("currency_from"), "currency_to": query.get("currency_to")}
        return answer(both | {"amount_from": asked, "estimated_amount": amount})

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _style(request: web.Request) -> str:
    fault = faults.of(request, "camel", "lower")
    return fault.kind if fault else "live"


def _batch(batch: Batch, style: str) -> dict[str, object]:
    rows = [row.view(style=style) for row in batch.rows]
    return {"id": batch.id, "createdAt": stamp(batch.created_at), "withdrawals": rows}


def _same(given: object, wanted: str) -> bool:
    return hmac.compare_digest(str(given).encode("utf-8", "replace"), wanted.encode())
