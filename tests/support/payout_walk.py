"""A payout through the real stack, one transaction at a time, so that a process can be killed in front of each."""

import asyncio
import contextlib
import functools
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import aiohttp
import asyncpg
import psutil
from eth_account.messages import encode_defunct

from deploy.local.demo import billing, scores
from deploy.local.demo.economy import Charge, Creator, SignUp
from deploy.local.demo.front_door import FrontDoor, Refused
from deploy.local.services import is_serving
from tests.support.eventually import eventually
from tests.support.payout_gate import Gate
from tests.support.stacks import Stack

DOLLAR: Final = 1_000_000
ASKED_MICRO: Final = 40 * DOLLAR
EARNED_MICRO: Final = 100 * DOLLAR
_SETTLED: Final = timedelta(hours=49) + timedelta(days=14)
_CLOSED: Final = 4
_PATIENCE_S: Final = 90
_WHOLE_WALK_S: Final = 1800
_PASS_EVERY_S: Final = 0.5
_STEADY_S: Final = 1.0
_LIVES: Final = 2


@dataclass
class Walk:
    """Creators with $100 each, and everything that is done to have one of them paid."""

    stack: Stack
    front_door: FrontDoor
    books: asyncpg.Connection
    refs: dict[str, str] = field(default_factory=dict)

    async def earn(self, *names: str) -> None:
        """All of these earn at once, settled and out of their hold."""
        now = await self.front_door.now()
        charges = []
        for number, name in enumerate(names):
            creator, payer = Creator(name, name.title()), f"payer of {name}"
            code = await self.front_door.open_creator(creator, now)
            sign_up = SignUp(payer, creator, 0, "", f"198.51.100.{number + 1}")
            await self.front_door.sign_up(sign_up, code, now)
            charges.append(
                Charge(f"charge {name}", payer, "c", "gpt-4o", "standard", 10 * EARNED_MICRO, DOLLAR, timedelta(0))
            )
        # A charge counts for whoever brought its payer before it.
        now = await self.front_door.now()
        await billing.finalize_all(self.stack.line["distribution"], charges, now, lambda _charge, _answer: None)
        await self.front_door.advance(int(_SETTLED.total_seconds()))
        rows = await self.books.fetch("SELECT account_id, account_ref::text FROM referral.accounts")
        self.refs = dict(map(tuple, rows))
        for name in names:
            await eventually(functools.partial(self._has, name, EARNED_MICRO), within=180)

    async def balance(self, account: str) -> int:
        found = await self.books.fetchval("SELECT balance_micro FROM distribution.accounts WHERE name = $1", account)
        return found or 0

    async def withdrawable(self, name: str) -> int:
        return await self.balance(f"creator:{self.refs[name]}:settled")

    async def _has(self, name: str, micro: int) -> bool:
        return await self.withdrawable(name) == micro

    async def ask(self, name: str, number: int) -> None:
        """Asks for $40 and signs, again and again until each has an answer, as a patient page would."""
        wallet = scores.wallet(number)
        wanted = {
            "amount_micro": str(ASKED_MICRO),
            "currency": "usdcmatic",
            "destination_address": wallet.address,
        }
        asked = await self._own(name, "POST", "/api/payouts/request", wanted, key="request")
        path = f"/api/payouts/{asked['payout_id']}"

        async def to_sign() -> str:
            payout = (await self._own(name, "GET", path))["payout"]
            return str(payout["confirmation"]["text"]) if payout["stage"] == "awaiting_confirmation" else ""

        text = await eventually(to_sign, within=_WHOLE_WALK_S)
        while text:
            signature = bytes(wallet.sign_message(encode_defunct(text=text)).signature).hex()
            try:
                proof = {"signature": signature}
                await self._own(name, "POST", f"{path}/confirm", proof, key=f"confirm {signature[:16]}")
                text = ""
            except Refused as refused:
                # Business time is quicker than whoever is started again: a fresh text, then.
                if "CONFIRMATION_EXPIRED" not in str(refused):
                    raise
                text = (await self._own(name, "POST", f"{path}/challenge"))["confirmation"]["text"]

    async def _own(self, name: str, method: str, path: str, body: object = None, *, key: str = "") -> dict[str, Any]:
        token = await self.front_door.token(name, await self.front_door.now())

        async def said() -> dict[str, Any] | Refused | None:
            try:
                return await self.front_door.call(method, path, token=token, body=body, key=key)
            except Refused as refused:
                # Of a process that died in the middle the front door says 5xx.
                return None if ": 5" in str(refused) else refused

        answer = await eventually(said, within=_WHOLE_WALK_S)
        if isinstance(answer, dict):
            return answer
        raise answer or AssertionError

    async def is_over(self, name: str) -> bool:
        """Whether the creator's payout is final, and the ledger knows it."""
        row = await self.books.fetchrow(
            "SELECT stage, money FROM payout.payouts WHERE account_ref = $1::uuid", self.refs[name]
        )
        return row is not None and row["stage"] >= 10 and row["money"] == _CLOSED

    async def killed_at_each_step(self, name: str, number: int, victim: str, *, every: int, seconds: int) -> int:
        """A payout from its request to its end, the victim killed in every so-manieth state of it; how often it was.

        It dies before the first transaction in that state, its heir before the second of its own; then it gets on, or
        what has to be looked at again after each death would never be done. `seconds` of business time pass twice a
        second while the victim is up and does not write.
        """
        gate, kills, states, state = Gate(self.stack.line["postgres"], victim), 0, 0, None
        lives = passed = 0
        await gate.close()
        steps = _Steps(self, gate, victim, name, seconds, asyncio.create_task(self.ask(name, number)))
        try:
            while await steps.comes():
                if (seen := await self._state(name)) != state:
                    states, state, lives, passed = states + 1, seen, 0, 0
                if states % every == 0 and passed == lives < _LIVES:
                    await eventually(steps.is_steady, within=_PATIENCE_S)
                    self.stack.kill(victim, signal.SIGKILL)
                    await gate.forget_the_dead()
                    kills, lives, passed = kills + 1, lives + 1, 0
                else:
                    await gate.step()
                    passed += 1
        finally:
            await gate.open()
            steps.asking.cancel()
            await asyncio.gather(steps.asking, return_exceptions=True)
        return kills

    async def _state(self, name: str) -> list[tuple[object, ...]]:
        """All that is written down of the creator's payout."""
        rows = await self.books.fetch(
            """
            SELECT p.revision, p.money, s.attempt, s.state, s.batch_id, s.provider_state, s.verify_tries, s.answered,
                s.checked_at IS NULL, h.state
            FROM payout.payouts AS p LEFT JOIN payout.payout_submissions AS s USING (payout_id)
                LEFT JOIN distribution.payout_holds AS h USING (payout_id)
            WHERE p.account_ref = $1::uuid ORDER BY s.attempt
            """,
            self.refs[name],
        )
        return [tuple(row) for row in rows]

    async def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The simulator's own door: what is to go wrong, and what truly happened."""
        url = self.stack.line["provider"].removesuffix("/v1") + "/control" + path
        async with aiohttp.ClientSession() as http, http.request("POST" if body else "GET", url, json=body) as answer:
            answer.raise_for_status()
            text = await answer.text()
        return json.loads(text) if text != "OK" else None

    async def sent_micro(self, number: int) -> list[int]:
        """What the provider truly sent to a wallet, in micro-USD of a stable coin."""
        address, rows = scores.wallet(number).address, (await self.control("/state"))["rows"]
        return [int(Decimal(row["amount"]) * DOLLAR) for row in rows if row["sent"] and row["address"] == address]

    async def check(self, name: str, number: int, *, paid: bool) -> None:
        """Its creator is debited exactly what the provider says it sent, and the fee; or has everything again, once."""
        (hold,) = await self.books.fetch(
            """
            SELECT state, amount_micro, sent_micro, fee_micro FROM distribution.payout_holds
            WHERE creator_ref = $1::uuid
            """,
            self.refs[name],
        )
        left = await self.withdrawable(name)
        sent = await self.sent_micro(number)
        completed, failed = 4, 5
        if paid:
            assert sent == [hold["sent_micro"]]
            assert (hold["state"], left) == (completed, EARNED_MICRO - hold["sent_micro"] - hold["fee_micro"])
        else:
            assert (hold["state"], left, sent) == (failed, EARNED_MICRO, [])
        assert await self.balance(f"creator:{self.refs[name]}:held") == 0
        total = await self.books.fetchval("SELECT sum(balance_micro)::bigint FROM distribution.accounts")
        assert (total, await self.balance("provider:in_flight")) == (0, 0)


@dataclass
class _Steps:
    """What a walk waits for: the victim's next transaction about payouts, or the payout's end."""

    walk: Walk
    gate: Gate
    victim: str
    name: str
    seconds: int
    asking: asyncio.Task[None]
    _passed_at: float = 0.0
    _born_at: float = 0.0
    _up_at: float = 0.0

    def is_up(self) -> bool:
        return is_serving(self.walk.stack.ports.probes(self.victim, 0))

    def is_steady(self) -> bool:
        """Whether whoever starts the dead again has seen it up too: it gives up on what dies before it is."""
        born_at = psutil.Process(self.walk.stack.pid(self.victim)).create_time()
        if (born_at, self.is_up()) != (self._born_at, True):
            self._born_at, self._up_at = (born_at if self.is_up() else 0.0), time.monotonic()
        return time.monotonic() > self._up_at + _STEADY_S

    async def comes(self) -> bool:
        """Waits for the next step; False where the payout is over."""
        came = await eventually(self._next, within=_PATIENCE_S)
        if came == "gave up":
            await self.asking
        return came == "waits"

    async def _next(self) -> str:
        if await self.gate.has_waiting():
            return "waits"
        if await self.walk.is_over(self.name):
            return "over"
        if self.asking.done() and self.asking.exception():
            return "gave up"
        if time.monotonic() > self._passed_at + _PASS_EVERY_S and self.is_up():
            self._passed_at = time.monotonic()
            await self.walk.front_door.advance(self.seconds)
        return ""


@contextlib.asynccontextmanager
async def walking(stack: Stack) -> AsyncIterator[Walk]:
    books = await asyncpg.connect(stack.line["postgres"])
    try:
        async with FrontDoor(stack.line["gateway"]) as front_door:
            yield Walk(stack, front_door, books)
    finally:
        await books.close()
