"""The provider's simulator in this process, behind a real port, and the real client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import ClientTimeout
from aiohttp.test_utils import TestServer

from deploy.local.nowpayments import Coin, Merchant, Provider
from deploy.local.nowpayments.faults import Fault
from libs.clock import Clock
from libs.settings import Secret
from services.payout.provider.client import Access, Client, Wanted, opened
from services.payout.provider.rows import Row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IPN_SECRET = "np-test-ipn-secret-000"
TRON = "TEmGwPeRTPiLFLVfBxXkSP91yc5GMNQhfS"
EVM = "0x" + "ab" * 20
PATIENCE_S = 5.0


def merchant(**changed: Any) -> Merchant:
    custody = {"usdttrc20": Coin(Decimal(100_000)), "usdcmatic": Coin(Decimal(100_000))}
    return Merchant("key", "a@example.test", "Secret", custody, ipn_secret=IPN_SECRET, **changed)


def wanted(external_id: str = "po-1", amount: str = "19.66923", **changed: Any) -> Wanted:
    plain = {"address": TRON, "memo": "", "currency": "usdttrc20"} | changed
    return Wanted(unique_external_id=external_id, amount=Decimal(amount), **plain)


@dataclass
class Running:
    """The simulator and where it listens."""

    provider: Provider
    url: str

    def fault(self, on: str, kind: str, **more: Any) -> None:
        self.provider.faults.waiting.append(Fault(on, kind, **more))

    def calls(self, name: str) -> int:
        return self.provider.faults.calls.get(name, 0)

    @property
    def rows(self) -> list[Any]:
        return list(self.provider.book.rows.values())

    @property
    def sent(self) -> Decimal:
        """What truly left, to creators."""
        return sum((row.amount for row in self.rows if row.sent), Decimal(0))

    def access(self, **changed: str) -> Access:
        account = self.provider.merchant
        given = {"api_key": account.api_key, "email": account.email, "password": account.password}
        secrets = {name: Secret(value) for name, value in (given | changed).items()}
        return Access(url=self.url, totp_secret=Secret(account.totp_secret), **secrets)


@asynccontextmanager
async def provider_running(clock: Clock, account: Merchant | None = None, *, seed: int = 0) -> AsyncIterator[Running]:
    provider = Provider(account or merchant(), clock, b"k" * 32, seed=seed)
    async with TestServer(provider.application()) as server:
        yield Running(provider, str(server.make_url("/v1")))


@asynccontextmanager
async def client_of(running: Running, clock: Clock, **changed: str) -> AsyncIterator[Client]:
    async with opened(running.access(**changed), clock, per_second=10_000, timeout_seconds=PATIENCE_S) as client:
        yield client


def impatient(client: Client) -> None:
    """From now on it waits for a second; to be told when it has logged in."""
    client._timeout = ClientTimeout(total=1.0)


async def state_of(client: Client, row: Row) -> str:
    """The word of the one row of a batch, as a look-up has it."""
    (found,) = await client.look_up(row.batch_id)
    return found.word
