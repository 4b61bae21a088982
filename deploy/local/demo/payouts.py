"""Creators ask for payouts at the front door, operators approve, the provider's simulator pays and calls back."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import aiohttp
import grpc
from eth_account.messages import encode_defunct

from deploy.local.demo import scores
from deploy.local.demo.economy import Creator, Economy
from deploy.local.demo.front_door import FrontDoor
from deploy.local.demo.patience import patience
from protos.distribution.v1 import ledger_pb2
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub

OPERATORS: Final = ("operator-01", "operator-02")

_WAIT_S: Final = 180
_TURN_S: Final = 0.25
_HALF_MINUTE: Final = 30
"""A code of the second factor is good for one payout, so that there is one in 30 seconds of business time."""
_DAY: Final = 86_400
_FINAL: Final = frozenset({"completed", "failed"})
_SCOPES: Final = "admin:payouts:read admin:payouts:write"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the n-th creator asks for; without an address it is its own wallet, which can sign."""

    creator: int
    amount_micro: int
    currency: str
    typed_address: str = ""
    refused: bool = False
    """Whether the provider will not have it."""


PLANS: Final = (
    Plan(11, 25_000_000, "usdterc20", refused=True),
    Plan(1, 1_200_000_000, "usdcmatic"),
    Plan(2, 40_000_000, "usdterc20"),
    Plan(3, 65_000_000, "usdttrc20", typed_address="TEmGwPeRTPiLFLVfBxXkSP91yc5GMNQhfS"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider says that it truly did, whoever asks."""

    sent: Sequence[Decimal] = ()
    callbacks_made: int = 0
    callbacks_taken: int = 0


@dataclass(frozen=True, slots=True)
class Paid:
    """What became of every payout, by creator, as its owner is told; and what the provider says."""

    by_account: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    provider: Told = field(default_factory=Told)


async def pay(front_door: FrontDoor, stack: Mapping[str, str], economy: Economy) -> Paid:
    """Everybody asks, confirms and is paid, but one who gets the money back. A second run finds it done."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
        payer = _Payer(front_door, http, stack["provider"].removesuffix("/v1") + "/control", economy)
        async with patience(_WAIT_S, "everybody is paid"):
            # The one that is refused goes alone, so that nobody else meets with it.
            for plans in ([plan for plan in PLANS if plan.refused], [plan for plan in PLANS if not plan.refused]):
                await payer.carry_out(plans)
            await _settled(stack["distribution"])
            told = await payer.told()
        return Paid({payer.creator(plan).account_id: await payer.payout(plan) for plan in PLANS}, told)


class _Payer:
    """The demo's hands: owners, operators, and whoever has the simulator misbehave."""

    def __init__(self, front_door: FrontDoor, http: aiohttp.ClientSession, control: str, economy: Economy) -> None:
        self._front_door = front_door
        self._http = http
        self._control = control
        self._economy = economy

    def creator(self, plan: Plan) -> Creator:
        return self._economy.creators[plan.creator - 1]

    async def carry_out(self, plans: Sequence[Plan]) -> None:
        """Asks for these payouts unless that was done before, and lets time pass until each is final."""
        for plan in plans:
            if not (asked := await self._listed(plan)):
                if plan.refused:
                    fault = {"on": "create", "kind": "refused", "code": "BAD_CREATE_WITHDRAWAL_REQUEST"}
                    await self._tell_simulator("/faults", fault)
                asked = await self._ask(plan)
            await self._confirm(plan, await self.payout(plan) if asked["stage"] == "requested" else asked)
        if any(plan.typed_address for plan in plans) and not await self._are_final(plans):
            # An address that was typed rests for a day before anything goes there.
            await self._front_door.advance(_DAY)
        while not await self._are_final(plans):
            await self._front_door.advance(_HALF_MINUTE)
            await asyncio.sleep(_TURN_S)

    async def payout(self, plan: Plan) -> dict[str, Any]:
        """What its owner is told of it, whole."""
        path = f"/api/payouts/{(await self._listed(plan))['payout_id']}"
        told: dict[str, Any] = (await self._own("GET", path, plan))["payout"]
        return told

    async def told(self) -> Told:
        """What the simulator truly did, once its callbacks have arrived."""
        while True:
            async with self._http.get(self._control + "/state") as answer:
                state = await answer.json()
            callbacks = state["callbacks"]
            if callbacks["taken"] + callbacks["given_up"] >= callbacks["made"]:
                break
            await asyncio.sleep(_TURN_S)
        sent = [Decimal(row["amount"]) for row in state["rows"] if row["sent"]]
        return Told(sent, callbacks["made"], callbacks["taken"])

    async def _listed(self, plan: Plan) -> dict[str, Any]:
        found: list[dict[str, Any]] = (await self._own("GET", "/api/creator/payouts", plan))["payouts"]
        return found[0] if found else {}

    async def _are_final(self, plans: Sequence[Plan]) -> bool:
        return all([(await self._listed(plan)).get("state") in _FINAL for plan in plans])

    async def _ask(self, plan: Plan) -> dict[str, Any]:
        wanted = {
            "amount_micro": str(plan.amount_micro),
            "currency": plan.currency,
            "destination_address": plan.typed_address or self._wallet(plan).address,
        }
        quote = (await self._own("POST", "/api/payouts/quote", plan, wanted))["quote"]
        return await self._own(
            "POST", "/api/payouts/request", plan, wanted | {"quote_id": quote["quote_id"]}, key="demo-request"
        )

    async def _confirm(self, plan: Plan, asked: dict[str, Any]) -> None:
        """Its owner signs or types, then as many operators as it takes approve."""
        path, stage = asked["payout_id"], asked["stage"]
        if stage == "awaiting_confirmation":
            proof = {"typed_address": plan.typed_address}
            if not plan.typed_address:
                challenge = await self._own("POST", f"/api/payouts/{path}/challenge", plan)
                text = encode_defunct(text=challenge["text"])
                proof = {"signature": bytes(self._wallet(plan).sign_message(text).signature).hex()}
            confirmed = await self._own("POST", f"/api/payouts/{path}/confirm", plan, proof, key="demo-confirm")
            stage = confirmed["stage"]
        for operator in OPERATORS:
            if stage == "awaiting_approval":
                token = await self._front_door.token(operator, await self._front_door.now(), _SCOPES)
                path_of_it, body = f"/api/admin/payouts/{path}/approve", {"reason": "a payout of the demo"}
                record = await self._front_door.call("POST", path_of_it, token=token, body=body, key=f"demo {path}")
                stage = record["payout"]["stage"]

    async def _own(self, method: str, path: str, plan: Plan, body: object = None, *, key: str = "") -> dict[str, Any]:
        token = await self._front_door.token(self.creator(plan).account_id, await self._front_door.now())
        return await self._front_door.call(method, path, token=token, body=body, key=key)

    def _wallet(self, plan: Plan) -> Any:
        return scores.wallet(plan.creator - 1)

    async def _tell_simulator(self, path: str, body: dict[str, str]) -> None:
        async with self._http.post(self._control + path, json=body) as answer:
            answer.raise_for_status()


async def _settled(distribution: str) -> None:
    """Returns when the ledger knows of every payout how it ended."""
    async with grpc.aio.insecure_channel(distribution) as channel:
        stub = LedgerServiceStub(channel)
        while True:
            trial = await stub.GetTrialBalance(ledger_pb2.GetTrialBalanceRequest(), timeout=30)
            families = {family.family: family.balance_micro for family in trial.families}
            if not families.get("provider:in_flight"):
                return
            await asyncio.sleep(_TURN_S)
