"""Things that go wrong on request: each waits for a call by name, happens so many times, and is gone."""

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from deploy.local.nowpayments.refused import Handler, Refused, bad_request

KINDS: Final = frozenset({
    "drop_before",  # the connection ends; nothing was done
    "drop_after",  # it was done; the connection ends without an answer
    "hang_before",  # silence for `seconds`, then nothing was done
    "hang_after",  # it was done, then silence for `seconds`
    "slow",  # it is done and answered, `seconds` later
    "error_before",  # 500, nothing was done
    "error_after",  # it was done, and the edge answers 502 in HTML
    "cut_json",  # it was done; half of the answer comes
    "busy",  # 429; with `seconds`, a Retry-After
    "refused",  # 400 with `code` and `message`
    "expired",  # 401, as for an old token
    "forbidden",  # 403, the client's address is not listed
    "as_json",  # the answer's text as JSON
    "camel", "lower", "bare_list",  # other spellings of the same answer
    "reject", "fail", "freeze",  # the withdrawal that is made ends so
    "forget",  # accepted and answered, and never heard of again
    "hide",  # lists and look-ups do not show it for `seconds` of business time
})  # fmt: skip


@dataclass
class Fault:
    """`on`: create, verify, look_up, list, auth, fee, minimum, balance, validate, payment, estimate or * for any."""

    on: str
    kind: str
    times: int = 1
    seconds: float = 0.0
    code: str = "BAD_REQUEST"
    message: str = "refused"

    @classmethod
    def read(cls, asked: dict[str, Any]) -> "Fault":
        fault = cls(**asked)
        fault.seconds = float(fault.seconds)
        if fault.kind not in KINDS:
            raise bad_request(f"kind must be one of {', '.join(sorted(KINDS))}")
        return fault


FAULT: Final = web.RequestKey("fault", Fault)


class Faults:
    """What waits to go wrong, and what did."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []
        self.calls: dict[str, int] = {}

    def take(self, name: str) -> Fault | None:
        """The next fault for a call of this name."""
        self.calls[name] = self.calls.get(name, 0) + 1
        for fault in self.waiting:
            if fault.on in {name, "*"}:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None

    def around(self, name: str, handler: Handler) -> Handler:
        """`handler`, with whatever was asked to go wrong with it."""

        async def faulty(request: web.Request) -> web.StreamResponse:
            fault = self.take(name)
            if fault is None:
                return await handler(request)
            request[FAULT] = fault
            try:
                await _before(request, fault)
                return await _after(request, fault, await handler(request))
            except _Dropped:
                return web.Response()  # nobody is there to read it

        return faulty


def of(request: web.Request, *kinds: str) -> Fault | None:
    """The fault of this request, where it is one of these."""
    fault: Fault | None = request.get(FAULT)
    return fault if fault is not None and fault.kind in kinds else None


def hidden(request: web.Request) -> timedelta | None:
    fault = of(request, "forget", "hide")
    if fault is None:
        return None
    return timedelta(days=3650) if fault.kind == "forget" else timedelta(seconds=fault.seconds)


async def _before(request: web.Request, fault: Fault) -> None:
    if fault.kind == "hang_before":
        await asyncio.sleep(fault.seconds)
    if fault.kind in {"drop_before", "hang_before"}:
        _drop(request)
    if fault.kind == "error_before":
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "Internal server error")
    if fault.kind == "busy":
        await _busy(request, fault)
    if fault.kind == "refused":
        raise bad_request(fault.message, fault.code)
    if fault.kind == "expired":
        raise Refused(HTTPStatus.UNAUTHORIZED, "AUTH_REQUIRED", "Bearer JWTtoken is expired or invalid")
    if fault.kind == "forbidden":
        raise Refused(HTTPStatus.FORBIDDEN, "ENDPOINT_NOT_ALLOWED", "Access denied | Invalid IP - undefined")


async def _busy(_request: web.Request, fault: Fault) -> None:
    headers = {"Retry-After": f"{fault.seconds:.0f}"} if fault.seconds else {}
    raise web.HTTPTooManyRequests(headers=headers, text='{"statusCode":429,"message":"Too many requests"}')


async def _after(request: web.Request, fault: Fault, answer: web.StreamResponse) -> web.StreamResponse:
    if fault.kind in {"slow", "hang_after"}:
        await asyncio.sleep(fault.seconds)
    if fault.kind in {"drop_after", "hang_after"}:
        _drop(request)
    if fault.kind == "error_after":
        return web.Response(status=502, text="<html><body>Bad gateway</body></html>", content_type="text/html")
    if not isinstance(answer, web.Response):
        return answer
    text = answer.text or ""
    if fault.kind == "cut_json":
        return web.Response(text=text[: len(text) // 2], content_type="application/json")
    if fault.kind == "as_json":
        return web.json_response({"status": text})
    if fault.kind == "bare_list":
        return web.json_response(json.loads(text)["withdrawals"])
    return answer


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise _Dropped


class _Dropped(Exception):
    """The connection was ended on request."""
