"""Callbacks on their way: signed, sent, sent again; and all that can happen to them."""

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import aiohttp

from deploy.local.nowpayments.merchant import Merchant
from services.payout.provider.canonical import canonical
from services.payout.provider.signatures import HEADER, sign

TIMEOUT_S: Final = 3.0
_KEPT_MAX: Final = 20_000
MISHAPS: Final = frozenset({"lose", "duplicate", "hold", "tamper", "unsorted", "unsigned", "forge"})


@dataclass(frozen=True)
class Callback:
    """One delivery."""

    url: str
    body: bytes
    signature: str


class Callbacks:
    """Sends in the order given, each until it is taken or its tries are used up."""

    def __init__(self, merchant: Merchant, seed: int) -> None:
        self.merchant = merchant
        self.made: deque[Callback] = deque(maxlen=_KEPT_MAX)
        """Everything that was ever signed, for tests and for sending again."""
        self.held: list[Callback] = []
        self.mishaps: list[tuple[str, int]] = []
        self.taken = 0
        self.given_up = 0
        self._random = random.Random(seed)
        self._queue: asyncio.Queue[Callback] = asyncio.Queue(_KEPT_MAX)

    def tell(self, body: Mapping[str, Any], url: str | None) -> None:
        """Signs and queues one; without a secret nothing is sent, as at the provider."""
        if not self.merchant.ipn_secret:
            return
        raw = canonical(dict(body)).encode()
        callback = Callback(url or self.merchant.ipn_url, raw, sign(raw, self.merchant.ipn_secret))
        self.made.append(callback)
        mishap = self._mishap()
        if mishap == "hold":
            self.held.append(callback)
        for each in _suffered(mishap, callback):
            self.send(each)

    def _mishap(self) -> str:
        if not self.mishaps:
            return ""
        kind, times = self.mishaps[0]
        self.mishaps[:1] = [(kind, times - 1)] if times > 1 else []
        return kind

    def send(self, callback: Callback) -> None:
        if callback.url and not self._queue.full():
            self._queue.put_nowait(callback)

    def release(self, order: str) -> int:
        """Sends what was held, in the same order, in reverse, or shuffled by the seed."""
        held, self.held = self.held, []
        if order == "reverse":
            held.reverse()
        elif order == "random":
            self._random.shuffle(held)
        for each in held:
            self.send(each)
        return len(held)

    async def deliver(self) -> None:
        """Works the queue; never returns."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
            while True:
                callback = await self._queue.get()
                if await self._delivered(http, callback):
                    self.taken += 1
                else:
                    self.given_up += 1

    async def _delivered(self, http: aiohttp.ClientSession, callback: Callback) -> bool:
        headers = {"Content-Type": "application/json"} | ({HEADER: callback.signature} if callback.signature else {})
        for attempt in range(self.merchant.ipn_tries):
            if attempt:
                await asyncio.sleep(self.merchant.ipn_wait_seconds)
            try:
                async with http.post(
                    callback.url, data=callback.body, headers=headers, allow_redirects=False
                ) as answer:
                    if 200 <= answer.status < 300:  # noqa: PLR2004
                        return True
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
        return False


def _suffered(mishap: str, callback: Callback) -> list[Callback]:
    """What is sent in place of a callback that meets with this."""
    url, body, signature = callback.url, callback.body, callback.signature
    changed: dict[str, Callable[[], list[Callback]]] = {
        "lose": list,
        "hold": list,
        "duplicate": lambda: [callback, callback],
        "tamper": lambda: [Callback(url, body.replace(b'"status":"', b'"status":"X'), signature)],
        "unsorted": lambda: [Callback(url, _unsorted(body), signature)],
        "unsigned": lambda: [Callback(url, body, "")],
        "forge": lambda: [Callback(url, body, sign(body, "not the secret"))],
    }
    return changed.get(mishap, lambda: [callback])()


def _unsorted(body: bytes) -> bytes:
    pairs = json.loads(body, parse_float=Decimal)
    return json.dumps(dict(reversed(pairs.items())), default=float).encode()
