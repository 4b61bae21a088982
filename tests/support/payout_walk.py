"""A payout through the real stack, one transaction at a time, so that a process can be killed in front of each."""

import asyncio
import contextlib
import functools
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import aiohttp
import asyncpg
from eth_account.messages import encode_defunct

from deploy.local.demo import billing, scores
from deploy.local.demo.economy import Charge, Creator, SignUp
from deploy.local.demo.front_door import FrontDoor, Refused
from deploy.local.services import is_serving
from tests.support.eventually import eventually
from tests.support.stacks import Stack

DOLLAR: Final = 1_000_000
ASKED_MICRO: Final = 40 * DOLLAR
EARNED_MICRO: Final = 100 * DOLLAR
WRITTEN: Final = {
    "payout": ("payout.payouts", "payout.payout_submissions"),
    "distribution": ("distribution.payout_holds",),
}
"""Where each service writes whatever happens to a payout."""
_SETTLED: Final = timedelta(hours=49) + timedelta(days=14)
_CLOSED: Final = 4


class Gate:
    """Keeps a service's transactions about payouts waiting, and lets one through at a time."""

    def __init__(self, dsn: str, service: str) -> None:
        self._dsn = dsn
        self._service = service
        self._lock = f"LOCK TABLE {', '.join(WRITTEN[service])} IN EXCLUSIVE MODE"
        self._holder: asyncpg.Connection | None = None

    async def close(self) -> object:
        """From now on each of them waits. One that holds the second table and wants the first is let through."""
        while True:
            self._holder = await asyncpg.connect(self._dsn)
            await self._holder.execute("BEGIN")
            try:
                return await self._holder.execute(self._lock)
            except asyncpg.DeadlockDetectedError:
                await self._holder.close()

    async def open(self) -> None:
        """Lets everything through."""
        if self._holder is not None:
            await self._holder.close()
        self._holder = None

    async def step(self) -> None:
        """Lets through whoever waits, and nobody who comes after: locks are given in the order they are asked for."""
        former = self._holder
        asking = asyncio.create_task(self.close())
        await eventually(lambda: self._waiting(own=True))
        if former is not None:
            await former.close()
        await asking

    async def has_waiting(self) -> bool:
        """Whether the service is about to write."""
        return await self._waiting(own=False)

    async def forget_the_dead(self) -> None:
        """Ends the sessions of a killed process at once, as its host's kernel would."""
        await self._ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1")

    async def _waiting(self, *, own: bool) -> bool:
        who = "usename <> $1 AND query LIKE 'LOCK TABLE %'" if own else "usename = $1"
        query = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {who}"  # noqa: S608
        return bool(await self._ask(query))

    async def _ask(self, query: str) -> int:
        connection = await asyncpg.connect(self._dsn)
        try:
            count: int = await connection.fetchval(query, self._service)
        finally:
            await connection.close()
        return count


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
            await eventually(functools.partial(self._has, name, EARNED_MICRO), within=60)

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
        while True:
            payout = (await self._own(name, "GET", f"/api/payouts/{asked['payout_id']}"))["payout"]
            if payout["stage"] == "awaiting_confirmation":
                break
            await asyncio.sleep(0.1)
        text = encode_defunct(text=payout["confirmation"]["text"])
        proof = {"signature": bytes(wallet.sign_message(text).signature).hex()}
        await self._own(name, "POST", f"/api/payouts/{asked['payout_id']}/confirm", proof, key="confirm")

    async def _own(self, name: str, method: str, path: str, body: object = None, *, key: str = "") -> dict[str, Any]:
        token = await self.front_door.token(name, await self.front_door.now())
        while True:
            try:
                return await self.front_door.call(method, path, token=token, body=body, key=key)
            except Refused as refused:
                # Of a process that died in the middle the front door says 5xx.
                if ": 5" not in str(refused):
                    raise
            await asyncio.sleep(0.1)

    async def pass_time(self, seconds: int) -> None:
        """So much business time twice a second; never returns."""
        while True:
            await self.front_door.advance(seconds)
            await asyncio.sleep(0.5)

    async def is_over(self, name: str) -> bool:
        """Whether the creator's payout is final, and the ledger knows it."""
        row = await self.books.fetchrow(
            "SELECT stage, money FROM payout.payouts WHERE account_ref = $1::uuid", self.refs[name]
        )
        return row is not None and row["stage"] >= 10 and row["money"] == _CLOSED

    async def killed_at_each_step(self, name: str, number: int, victim: str, *, every: int, seconds: int) -> int:
        """A payout from its request to its end, the victim killed before every so-manieth step; how often it was."""
        gate, kills, stops = Gate(self.stack.line["postgres"], victim), 0, 0
        await gate.close()
        others = [asyncio.create_task(each) for each in (self.ask(name, number), self.pass_time(seconds))]
        try:
            while await self._comes(gate, name):
                stops += 1
                if stops % every == 0:
                    await eventually(lambda: is_serving(self._probes(victim)), within=30)
                    self.stack.kill(victim, signal.SIGKILL)
                    await gate.forget_the_dead()
                    kills += 1
                    if not await self._comes(gate, name):
                        break
                await gate.step()
        finally:
            await gate.open()
            for each in others:
                each.cancel()
            results = await asyncio.gather(*others, return_exceptions=True)
        assert not [each for each in results if isinstance(each, Exception)], results
        return kills

    async def _comes(self, gate: Gate, name: str) -> bool:
        """Waits for the next step; False where the payout is over."""

        async def next_one() -> str:
            if await gate.has_waiting():
                return "waits"
            return "over" if await self.is_over(name) else ""

        return await eventually(next_one, within=60) == "waits"

    def _probes(self, service: str) -> int:
        return self.stack.ports.probes(service, 0)

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


@contextlib.asynccontextmanager
async def walking(stack: Stack) -> AsyncIterator[Walk]:
    books = await asyncpg.connect(stack.line["postgres"])
    try:
        async with FrontDoor(stack.line["gateway"]) as front_door:
            yield Walk(stack, front_door, books)
    finally:
        await books.close()
