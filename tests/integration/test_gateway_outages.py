"""What still works while one part is gone: the table of `gateway/README.md`, row by row, on the whole stack."""

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from libs.timestamps import to_timestamp
from protos.distribution.v1 import distribution_pb2
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub
from tests.support.callers import Caller, now
from tests.support.earning import sign_up
from tests.support.outages import gone
from tests.support.payout import EVM_COIN, wallet
from tests.support.stacks import Stack

README: Final = (Path(__file__).parents[2] / "gateway" / "README.md").read_text()
Eventually = Callable[..., Awaitable[Any]]
OUTAGES: Final = ("redis", "kafka", "referral", "distribution", "payout", "score", "leaderboard")

pytestmark = pytest.mark.nightly


def table() -> dict[str, dict[str, bool]]:
    """Whether each row works without each part."""
    lines = re.findall(r"^\| .* \|$", README.partition("## What works without what")[2], re.MULTILINE)
    parts, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: dict(zip(parts[1:], [mark == "yes" for mark in marks], strict=True)) for name, *marks in rows}


class Person(Caller):
    """Somebody who tries everything."""

    @property
    def code(self) -> str:
        return f"DOOR{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"

    def works(self) -> dict[str, bool]:
        """Each row of the table, tried."""
        return {name: attempt(self) for name, attempt in ATTEMPTS.items()}

    def sees(self, path: str, **query: Any) -> bool:
        return whole(self.get(path, **query))

    def asks_for_a_payout(self) -> bool:
        """Nobody has earned: that the ledger says so, or that it was asked today, is the most there is."""
        body = {"amount_micro": "20000000", "currency": EVM_COIN, "destination_address": wallet(7).address}
        return whole(self.post("/payouts/request", **body), refused="INSUFFICIENT_WITHDRAWABLE PAYOUT_TOO_SOON")

    def links(self) -> bool:
        return whole(self.post("/wallets/challenge", wallet_address=wallet(7).address, chain_id=1))

    def registers(self) -> bool:
        return whole(self.post("/referrals/register", code=self.code), refused="SELF_REFERRAL")

    def is_charged(self) -> bool:
        with grpc.insecure_channel(self.stack.line["distribution"]) as opened:
            channel: Any = opened
            stub: Any = DistributionServiceStub(channel)
            request = distribution_pb2.FinalizeRequest(
                inference_charge_id=str(uuid.uuid4()),
                payer_account_id=self.name.replace("ida", "payer"),
                community_id="here",
                revenue_micro=100,
                model="m",
                finalized_at=to_timestamp(now(self.stack)),
            )
            try:
                stub.Finalize(request, timeout=4)
            except grpc.RpcError as error:
                failure: Any = error
                assert failure.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
                return False
        return True


def whole(answer: Any, refused: str = "") -> bool:
    """Whether it did its work; what did not says so as it should."""
    if answer.ok or answer.json()["code"] in refused.split():
        return True
    assert answer.status_code in {503, 504}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return False


ATTEMPTS: Final[dict[str, Callable[[Person], bool]]] = {
    "code and share link": lambda who: who.sees("/referrals/code") and who.sees("/referrals/share"),
    "sign-up": Person.registers,
    "referral totals": lambda who: who.sees("/creator/referrals"),
    "leaderboard": lambda who: who.sees("/referrals/leaderboard"),
    "buckets": lambda who: who.sees("/creator/earnings"),
    "bars": lambda who: who.sees("/creator/earnings", bucket="day"),
    "breakdown and statement": lambda who: (
        who.sees("/creator/earnings/breakdown", dimension="model", from_day="2026-01-01", to_day="2026-01-02")
        and who.sees("/creator/statement.csv", from_day="2026-01-01", to_day="2026-01-02")
    ),
    "payouts, seen": lambda who: who.sees("/creator/payouts") and who.sees("/payouts/currencies"),
    "payout, asked for": Person.asks_for_a_payout,
    "wallets and rewards, seen": lambda who: who.sees("/wallets") and who.sees("/score/rewards"),
    "wallet, to be linked": Person.links,
    "charge by billing (gRPC)": Person.is_charged,
}


def known(stack: Stack, part: str) -> Person:
    """Somebody who was everywhere before this part is gone."""
    person = Person(stack, f"ida without {part}")
    person.do("/referrals/code", vanity_code=person.code)
    sign_up(stack, person.code, [f"payer without {part}"])
    assert person.works() == dict.fromkeys(ATTEMPTS, True)
    return person


def test_the_table_is_about_what_is_tried() -> None:
    assert {name: set(marks) for name, marks in table().items()} == {name: set(OUTAGES) for name in ATTEMPTS}


@pytest.mark.parametrize("part", OUTAGES)
async def test_what_the_table_says_is_so(stack: Stack, eventually: Eventually, part: str) -> None:
    ida = known(stack, part)
    with gone(stack, part):
        found = ida.works()
    assert found == {name: marks[part] for name, marks in table().items()}
    await eventually(lambda: ida.works() == dict.fromkeys(ATTEMPTS, True), within=30, every=3)
