"""A gateway in this process, listening on a real port, before services of the test's choice."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from multidict import CIMultiDict

from gateway.application import Gateway
from gateway.settings import Settings
from libs import rpc
from libs.rpc.server import Registrar

SECRET = "a development secret of more than 32 bytes"
NOWHERE = "127.0.0.1:1"


@dataclass
class Answer:
    status: int
    headers: CIMultiDict[str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The problem's code; that it is a whole problem is checked on the way."""
        problem = self.json
        assert self.headers["Content-Type"] == "application/problem+json"
        assert set(problem) == {"type", "title", "status", "detail", "code", "errors", "request_id"}
        assert problem["status"] == self.status
        assert problem["request_id"] == self.headers["X-Request-Id"]
        assert problem["detail"]
        return str(problem["code"])


class Client:
    """Calls a gateway as the outside does."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self._http = http

    async def call(self, method: str, path: str, *, token: str = "", body: object = None, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            options["data"] = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        async with self._http.request(method, self.url + path, headers=headers, **options) as answer:
            return Answer(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def token(self, account_id: str, scope: str = "creator", **claims: Any) -> str:
        answer = await self.call("POST", "/dev/token", body={"account_id": account_id, "scope": scope, **claims})
        assert answer.status == 200, answer.raw
        return str(answer.json["token"])


def environment(clock: Path, redis_url: str, **settings: str) -> dict[str, str]:
    """What a gateway of a test is told."""
    return {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "DEV_CLOCK_FILE": str(clock),
        "REDIS_URL": redis_url,
        "REFERRAL_ADDRESS": NOWHERE,
        "DISTRIBUTION_ADDRESS": NOWHERE,
        "PAYOUT_ADDRESS": NOWHERE,
        "SCORE_ADDRESS": NOWHERE,
        "LEADERBOARD_ADDRESS": NOWHERE,
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "JWT_HS256_SECRET": SECRET,
        "DRAIN_WAIT_SECONDS": "0",
        "DRAIN_GRACE_SECONDS": "2",
        "REDIS_SECONDS": "5",
        **settings,
    }


@asynccontextmanager
async def opened(clock: Path, redis_url: str, **settings: str) -> AsyncIterator[Client]:
    """A gateway and a client of it."""
    gateway = Gateway(Settings.read(environment(clock, redis_url, **settings)))
    async with gateway, aiohttp.ClientSession(auto_decompress=False) as http:
        yield Client(f"http://127.0.0.1:{gateway.port}", http)


@asynccontextmanager
async def served(registrar: Registrar, servicer: object, service: str, name: str) -> AsyncIterator[str]:
    """A gRPC service on a port of its own."""
    server = rpc.Server(name, test_mode=True, drain_wait_seconds=0, drain_grace_seconds=0.2)
    server.add(registrar, servicer, service, frozenset({"gateway"}))
    await server.start()
    await server.ready()
    yield f"127.0.0.1:{server.port}"
    await server.drain()


class Scripted:
    """Stands where a service stands and answers each method as it is told: an answer, or an error to raise."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.calls: list[tuple[str, Any, grpc.aio.ServicerContext[Any, Any]]] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def behave(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self.calls.append((method, request, context))
            answer = self.answers[method]
            if callable(answer):
                answer = await answer(request, context)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return behave
