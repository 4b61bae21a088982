"""The payment provider's simulator: the same paths, bodies and refusals as NOWPayments' API, v1.

What it does not know yet answers 404 as the provider would answer an unknown path; nothing pretends to have worked.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from libs.clock import Clock, open_clock

TOKEN_LIFE = timedelta(minutes=5)
MERCHANT_ID = "5826259115"
BODY_BYTES_MAX = 256 * 1024
DRAIN_SECONDS = 3.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """An answer in the provider's error shape."""

    def __init__(self, http_status: HTTPStatus, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.body = {"status": False, "statusCode": int(http_status), "code": code, "message": message, **more}
        self.http_status = http_status

    def answer(self) -> web.Response:
        return web.json_response(self.body, status=self.http_status)


@dataclass
class Coin:
    """What the merchant holds in custody of one coin."""

    amount: Decimal = Decimal(0)
    pending: Decimal = Decimal(0)


@dataclass
class Merchant:
    """The account at the provider that the platform pays from."""

    api_key: str
    email: str
    password: str
    balance: dict[str, Coin] = field(default_factory=dict)
    allowed_addresses: frozenset[str] = frozenset()
    """Client addresses that may ask for more than status and auth; empty allows all."""


class Provider:
    """The provider as its API shows it; `clock` decides when a token is old."""

    def __init__(self, merchant: Merchant, clock: Clock, token_key: bytes) -> None:
        self.merchant = merchant
        self._clock = clock
        self._key = OctKey.import_key(token_key)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[problems], client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/v1/status", self.tell_status)
        app.router.add_post("/v1/auth", self.authenticate)
        app.router.add_get("/v1/balance", self.guarded(self.tell_balance))
        return app

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
        body = await _object(request)
        for name in ("email", "password"):
            if not isinstance(body.get(name), str):
                raise Refused(HTTPStatus.BAD_REQUEST, "INVALID_REQUEST_PARAMS", f"{name} is required")
        known = _same(body["email"], self.merchant.email) & _same(body["password"], self.merchant.password)
        if not known:
            raise Refused(HTTPStatus.FORBIDDEN, "ACCESS_DENIED", "Access denied")
        issued_at = self._now()
        claims = {"id": MERCHANT_ID, "iat": issued_at, "exp": issued_at + int(TOKEN_LIFE.total_seconds())}
        return web.json_response({"token": jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, self._key)})

    async def tell_balance(self, _request: web.Request) -> web.Response:
        """`GET /v1/balance`: JSON numbers, coins that were never held are missing."""
        parts = (
            f'"{coin}":{{"amount":{held.amount:f},"pendingAmount":{held.pending:f}}}'
            for coin, held in sorted(self.merchant.balance.items())
        )
        return web.Response(text="{" + ",".join(parts) + "}", content_type="application/json")

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal in the provider's shape, the router's too."""
    try:
        return await handler(request)
    except Refused as refused:
        return refused.answer()
    except web.HTTPRequestEntityTooLarge:
        too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return Refused(too_large, "INVALID_REQUEST_PARAMS", "request entity too large").answer()
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"Cannot {request.method} {request.path}").answer()


async def _object(request: web.Request) -> dict[str, object]:
    """The body as a JSON object."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "INVALID_REQUEST_PARAMS", "value must be of type object")
    return body


def _same(given: object, wanted: str) -> bool:
    return hmac.compare_digest(str(given).encode("utf-8", "replace"), wanted.encode())


def from_environment(environment: Mapping[str, str]) -> Provider:
    """The simulator that the local stack runs; its development account is the same each time."""
    api_key = environment.get("NOWPAYMENTS_API_KEY", "")
    if not api_key:
        sys.exit("NOWPAYMENTS_API_KEY must be set.")
    derived = base64.b32encode(hashlib.sha256(f"password of {api_key}".encode()).digest())[:24].decode()
    merchant = Merchant(
        api_key=api_key,
        email=environment.get("NOWPAYMENTS_EMAIL") or "payouts@example.test",
        password=environment.get("NOWPAYMENTS_PASSWORD") or derived,
        balance={"usdttrc20": Coin(Decimal(100_000)), "usdcmatic": Coin(Decimal(100_000))},
    )
    token_key = hashlib.sha256(f"tokens of {api_key}".encode()).digest()
    return Provider(merchant, open_clock(test_mode=True, path=environment.get("DEV_CLOCK_FILE")), token_key)


async def serve(provider: Provider, host: str, port: int) -> None:
    """Answers until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await stopping.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    host, _, port = os.environ.get("PROVIDER_LISTEN", "127.0.0.1:8035").rpartition(":")
    asyncio.run(serve(from_environment(os.environ), host, int(port)))


if __name__ == "__main__":
    main()
