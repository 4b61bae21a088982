"""People at the gateway of a running stack."""

import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests

from gateway.tokens import Minter, Policy
from libs.clock import SystemClock
from tests.support.stacks import Stack

_KEYS = itertools.count()


def now(stack: Stack) -> datetime:
    """Business time of a stack."""
    answer = requests.get(f"{stack.line['gateway']}/dev/clock", timeout=20)
    return datetime.fromisoformat(answer.json()["now"])


def advance(stack: Stack, seconds: float) -> None:
    """Move the clock of every process."""
    body = {"seconds": int(seconds)}
    assert requests.post(f"{stack.line['gateway']}/dev/clock/advance", json=body, timeout=60).status_code == 200


@dataclass
class Caller:
    """Somebody with a token; every request that changes something has a key of its own unless one is given.

    An account may call 300 times a minute: who asks again and again as somebody leaves the tests' pages their part.
    """

    stack: Stack
    name: str
    scopes: str = "creator"
    prefix: str = "/api"
    address: str = ""
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        minter = Minter(Policy("test-mode", "creator-economy"), self.stack.secrets["jwt_secret"], now=SystemClock().now)
        self.headers = {"Authorization": f"Bearer {minter.mint(self.name, self.scopes, now(self.stack))}"}
        if self.address:
            self.headers["X-Forwarded-For"] = self.address

    def see(self, path: str, **query: Any) -> Any:
        """What a look gives."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str, **query: Any) -> requests.Response:
        return requests.get(self._url(path), params=query, headers=self.headers, timeout=20)

    def do(self, path: str, *, key: str | None = None, **body: Any) -> Any:
        """What an act gives."""
        answer = self.post(path, key=key, **body)
        assert answer.ok, answer.text
        return answer.json()

    def refused(self, path: str, *, key: str | None = None, **body: Any) -> tuple[int, str]:
        """How an act is refused."""
        answer = self.post(path, key=key, **body)
        return answer.status_code, answer.json()["code"]

    def post(self, path: str, *, key: str | None = None, **body: Any) -> requests.Response:
        """An act; one without a body sends none."""
        headers = self._keyed(key) | ({"Content-Type": "application/json"} if body else {})
        data = json.dumps(body) if body else None
        return requests.post(self._url(path), data=data, headers=headers, timeout=20)

    def delete(self, path: str, *, key: str | None = None) -> requests.Response:
        return requests.delete(self._url(path), headers=self._keyed(key), timeout=20)

    def _keyed(self, key: str | None) -> dict[str, str]:
        made = f"{self.name} {next(_KEYS)}" if key is None else key
        return self.headers | ({"Idempotency-Key": made} if made else {})

    def _url(self, path: str) -> str:
        return f"{self.stack.line['gateway']}{self.prefix}{path}"
