"""A client of NOWPayments' API v1: every call ends in an answer or in one of `trouble`'s three outcomes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import aiohttp

from libs.clock import Clock
from libs.settings import Secret
from services.payout import metrics
from services.payout.provider import reading
from services.payout.provider.pace import Pace
from services.payout.provider.rows import Payment, Row, amount, read_payment, read_rows
from services.payout.provider.totp import code_at
from services.payout.provider.trouble import NotNow, Refused, Trouble, Unknown, of_status

PAGE: Final = 100
PAGES_MAX: Final = 200
DECIMALS_MAX: Final = 6
_TOKEN_EARLY: Final = timedelta(seconds=30)
_WAIT_MAX_S: Final = 60.0


@dataclass(frozen=True)
class Access:
    """How this merchant is known at the provider."""

    url: str
    api_key: Secret
    email: Secret
    password: Secret
    totp_secret: Secret
    callback_url: str = ""
    """Where callbacks about payouts are to go; empty for what the merchant's account says."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One withdrawal that is to be made; `amount` in units of the currency, at most six decimals."""

    unique_external_id: str
    address: str
    memo: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """What custody holds of one currency, in units of it."""

    amount: Decimal
    pending: Decimal


class Client:
    """One session; calls are paced, each has a time limit, and none is repeated but once for an old token."""

    def __init__(
        self, access: Access, clock: Clock, http: aiohttp.ClientSession, *, per_second: float, timeout_seconds: float
    ) -> None:
        self._access = access
        self._clock = clock
        self._http = http
        self._pace = Pace(per_second)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(5.0, timeout_seconds))
        self._token = ""
        self._token_until: datetime | None = None
        self._login = asyncio.Lock()

    async def create(self, wanted: Wanted) -> Row:
        """Makes a batch of one withdrawal; no money moves before it is verified.

        Raises AlreadyThere where this id was used before; Refused, NotNow, Unknown.
        """
        if -int(wanted.amount.normalize().as_tuple().exponent) > DECIMALS_MAX:
            raise ValueError("at most six decimals")
        withdrawal = {
            "address": wanted.address,
            "currency": wanted.currency,
            "amount": wanted.amount,
            "unique_external_id": wanted.unique_external_id,
        }
        if wanted.memo:
            withdrawal["extra_id"] = wanted.memo
        body: dict[str, Any] = {"withdrawals": [withdrawal]}
        if self._access.callback_url:
            body["ipn_callback_url"] = self._access.callback_url
        answer = await self._ask("create", "POST", "payout", body)
        rows = read_rows(answer)
        if len(rows) != 1 or not rows[0].batch_id:
            raise Unknown("UNREADABLE")
        return rows[0]

    async def verify(self, batch_id: str, instant: datetime) -> None:
        """Lets the batch go, with the code of that instant: from here on money may move. Any 200 means that it does."""
        code = code_at(self._access.totp_secret, instant)
        await self._ask("verify", "POST", f"payout/{_id(batch_id)}/verify", {"verification_code": code}, as_json=False)

    async def look_up(self, provider_id: str) -> tuple[Row, ...]:
        """Rows of a batch, or of the batch of one withdrawal. Raises NotThere."""
        return read_rows(await self._ask("look_up", "GET", f"payout/{_id(provider_id)}"))

    async def rows_since(self, since: datetime) -> list[Row]:
        """Every row made since, newest first. Raises Unknown where there are more than can be paged through."""
        found: dict[str, Row] = {}
        for page in range(PAGES_MAX):
            rows = await self._page(page, since)
            fresh = [row for row in rows if row.provider_id not in found]
            found |= {row.provider_id: row for row in fresh}
            # The first page may be number 0 or 1: a page that repeats the one before says nothing about the end.
            if not rows or (not fresh and page > 1):
                return [row for row in found.values() if row.created_at is None or row.created_at >= since]
            if all(row.created_at is not None and row.created_at < since for row in rows):
                return [row for row in found.values() if row.created_at is None or row.created_at >= since]
        raise Unknown("LIST_TOO_LONG")

    async def find(self, unique_external_id: str, since: datetime) -> Row | None:
        """The row of this id among those made since. None proves nothing: the list may lag."""
        for row in await self.rows_since(since):
            if row.unique_external_id == unique_external_id:
                return row
        return None

    async def _page(self, page: int, since: datetime) -> tuple[Row, ...]:
        asked = {"order_by": "id", "order": "desc", "limit": str(PAGE), "page": str(page)}
        asked["date_from"] = f"{since:%Y-%m-%dT%H:%M:%S}.000Z"
        return read_rows(await self._ask("list", "GET", "payout", query=asked))

    async def check_address(self, address: str, currency: str, memo: str) -> bool:
        """Whether the provider would send this currency there."""
        body = {"address": address, "currency": currency, "extra_id": memo or None}
        try:
            await self._ask("validate_address", "POST", "payout/validate-address", body, as_json=False)
        except NotNow:
            raise
        except Refused:
            return False
        return True

    async def fee(self, currency: str, asked: Decimal) -> Decimal:
        """The network's fee as it stands, in units of the currency: an estimate."""
        query = {"currency": currency, "amount": f"{asked:f}"}
        return _number((await self._object("fee", "payout/fee", query)).get("fee"))

    async def minimum(self, currency: str) -> Decimal:
        """The least that is sent now, in units of the currency."""
        return _number((await self._object("minimum", f"payout-withdrawal/min-amount/{_id(currency)}")).get("result"))

    async def estimate(self, usd: Decimal, currency: str) -> Decimal:
        """How much of the currency these dollars are."""
        query = {"amount": f"{usd:f}", "currency_from": "usd", "currency_to": currency}
        return _number((await self._object("estimate", "estimate", query)).get("estimated_amount"))

    async def balances(self) -> dict[str, Held]:
        """What custody holds, by currency; what it never held is missing."""
        found = await self._object("balance", "balance")
        return {
            coin.lower(): Held(_number(held.get("amount")), _number(held.get("pendingAmount")))
            for coin, held in found.items()
            if isinstance(held, dict)
        }

    async def payment(self, payment_id: str) -> Payment:
        """One payment. Raises NotThere."""
        return read_payment(await self._ask("payment", "GET", f"payment/{_id(payment_id)}"))

    async def _object(self, name: str, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        answer = await self._ask(name, "GET", path, query=query)
        if not isinstance(answer, dict):
            raise Unknown("UNREADABLE")
        return answer

    async def _ask(
        self,
        name: str,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: dict[str, str] | None = None,
        as_json: bool = True,
    ) -> Any:
        """One call, with both credentials; a token that the provider takes for old is renewed once."""
        with _counted(name):
            for attempt in (1, 2):
                token = await self._bearer()
                http_status, raw, wait_seconds = await self._send(method, path, body, query, token)
                if http_status != 401 or attempt == 2:  # noqa: PLR2004
                    break
                self._token_until = None
            return self._judge(http_status, raw, wait_seconds, as_json=as_json)

    def _judge(self, http_status: int, raw: bytes, wait_seconds: float, *, as_json: bool) -> Any:
        if not 200 <= http_status < 300:  # noqa: PLR2004
            if wait_seconds:
                self._pace.rest(wait_seconds)
            raise of_status(http_status, *reading.complaint(raw), wait_seconds)
        return reading.exact(raw) if as_json else None

    async def _bearer(self) -> str:
        async with self._login:
            if self._token_until is None or self._clock.now() >= self._token_until:
                self._token, self._token_until = await self._log_in()
            return self._token

    async def _log_in(self) -> tuple[str, datetime]:
        """A fresh token and until when it is used. Whatever goes wrong here, nothing was done."""
        asked = {"email": self._access.email, "password": self._access.password}
        try:
            http_status, raw, wait_seconds = await self._send("POST", "auth", asked, None, "")
            token = self._judge(http_status, raw, wait_seconds, as_json=True)["token"]
            return token, reading.expiry(token) - _TOKEN_EARLY
        except NotNow:
            raise
        except (Trouble, TypeError, KeyError, ValueError, OverflowError, OSError):
            raise NotNow("LOGIN_FAILED") from None

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, query: dict[str, str] | None, token: str
    ) -> tuple[int, bytes, float]:
        headers = {"x-api-key": str(self._access.api_key)} | ({"Authorization": f"Bearer {token}"} if token else {})
        await self._pace.turn()
        try:
            async with self._http.request(
                method,
                f"{self._access.url}/{path}",
                data=None if body is None else reading.encode(body),
                params=query,
                headers=headers | ({} if body is None else {"Content-Type": "application/json"}),
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                return response.status, await reading.bounded(response.content), _wait(response.headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise NotNow("NOT_REACHED") from None
        except TimeoutError:
            raise Unknown("TIMEOUT") from None
        except (aiohttp.ClientError, OSError):
            raise Unknown("CUT_OFF") from None


class _counted:  # noqa: N801 - reads as a word where it is used
    """Counts how a call ended."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        code = error.code if isinstance(error, Trouble) else "OK" if error is None else "BROKEN_OFF"
        metrics.PROVIDER_CALLS.labels(self._name, code).inc()


@asynccontextmanager
async def opened(
    access: Access, clock: Clock, *, per_second: float = 3.0, timeout_seconds: float = 30.0
) -> AsyncIterator[Client]:
    """A client with a session of its own. The way to a real provider may lead through a proxy of the environment."""
    is_far = access.url.startswith("https://")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=4), cookie_jar=aiohttp.DummyCookieJar(), trust_env=is_far
    ) as http:
        yield Client(access, clock, http, per_second=per_second, timeout_seconds=timeout_seconds)


def _id(text: str) -> str:
    """Part of a path; an id that could change where the path leads was never the provider's."""
    if not (text.isascii() and text.isalnum() and len(text) <= 40):  # noqa: PLR2004
        raise Refused("ID_INVALID")
    return text


def _number(value: object) -> Decimal:
    try:
        found = amount(value)
    except (ValueError, ArithmeticError):
        found = None
    if found is None:
        raise Unknown("UNREADABLE")
    return found


def _wait(headers: Any) -> float:
    """Retry-After in seconds; a date is not written there by this provider."""
    text = headers.get("Retry-After", "")
    return min(float(text), _WAIT_MAX_S) if text.isdecimal() else 0.0
