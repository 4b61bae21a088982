"""Creators and payers: REST through the gateway, within its limits."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import aiohttp

from deploy.local.demo.economy import WAVE_INTERVAL, Creator, SignUp

CONCURRENT = 16


class Refused(Exception):
    """The gateway answered a problem that the demo cannot go on with."""


class FrontDoor:
    """The gateway as the outside world sees it."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def call(
        self, method: str, path: str, *, token: str = "", body: object = None, ip: str = "", key: str = ""
    ) -> dict[str, Any]:
        """One request; a 429 or 503 is tried again when the gateway says so."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if ip:
            headers["X-Forwarded-For"] = ip
        if key:
            headers["Idempotency-Key"] = key
        for _ in range(20):
            async with (
                self._slots,
                self._http.request(method, self._gateway + path, json=body, headers=headers) as answer,
            ):
                payload: dict[str, Any] = await answer.json(content_type=None)
                if answer.ok:
                    return payload
                if answer.status not in {429, 503}:
                    break
                wait = int(answer.headers.get("Retry-After", "1"))
            await asyncio.sleep(wait)
        raise Refused(f"{method} {path}: {payload.get('status')} {payload.get('code')}: {payload.get('detail')}")

    async def now(self) -> datetime:
        """Business time of the whole stack."""
        return datetime.fromisoformat((await self.call("GET", "/dev/clock"))["now"])

    async def advance(self, seconds: int) -> datetime:
        """Moves every process's clock."""
        return datetime.fromisoformat((await self.call("POST", "/dev/clock/advance", body={"seconds": seconds}))["now"])

    async def token(self, account_id: str, created_at: datetime, scope: str = "creator") -> str:
        body = {"account_id": account_id, "scope": scope, "account_created_at": created_at.isoformat()}
        token: str = (await self.call("POST", "/dev/token", body=body))["token"]
        return token

    async def open_creator(self, creator: Creator, now: datetime) -> str:
        """A creator shows its name and asks for its code."""
        token = await self.token(creator.account_id, now)
        await self.call("PUT", "/api/creator/profile", token=token, body={"display_name": creator.display_name})
        code: str = (await self.call("POST", "/api/referrals/code", token=token))["code"]
        return code

    async def sign_up(self, sign_up: SignUp, code: str, now: datetime) -> None:
        """A payer registers with a code, from its own address."""
        token = await self.token(sign_up.account_id, now)
        body = {"code": code} | ({"channel": sign_up.channel} if sign_up.channel else {})
        await self.call("POST", "/api/referrals/register", token=token, body=body, ip=sign_up.ip_address)

    async def sign_up_wave(self, sign_ups: Iterable[SignUp], codes: dict[str, str]) -> None:
        """All registrations of one wave; then two hours pass."""
        now = await self.now()
        async with asyncio.TaskGroup() as group:
            for sign_up in sign_ups:
                if sign_up.creator is not None:
                    group.create_task(self.sign_up(sign_up, codes[sign_up.creator.account_id], now))
        await self.advance(int(WAVE_INTERVAL.total_seconds()))

    async def board(self, timeframe: str = "all_time") -> list[dict[str, Any]]:
        """The leaderboard as anybody sees it."""
        token = await self.token("visitor", await self.now())
        path = f"/api/referrals/leaderboard?timeframe={timeframe}&limit=50"
        rows: list[dict[str, Any]] = (await self.call("GET", path, token=token))["rows"]
        return rows
