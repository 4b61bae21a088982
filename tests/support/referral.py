"""Referral's commands on a database of one's own and a clock that is moved by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from libs.clock import ManualClock
from libs.postgres import Postgres
from libs.refusals import Refusal
from protos.referral.v1 import events_pb2
from services.referral.commands import attribution, codes, registration
from services.referral.model import Attribution, Code, CodeWish, Limits, Registered, SignUp
from services.referral.settings import Settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = {"FINGERPRINT_KEY": "a development key of some length", "RISK_HASH_KEY": "another key of some length"}


def settings(**changed: str) -> Settings:
    return Settings.read(KEYS | changed)


class Referral:
    """What the doors would do, without the doors."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.clock = ManualClock(START)
        self.limits = Limits()

    async def make_code(
        self, account_id: str, vanity: str | None = None, *, lasts: timedelta | None = None, max_uses: int | None = None
    ) -> tuple[Code, bool]:
        wish = CodeWish(vanity, self.clock.now() + lasts if lasts is not None else None, max_uses)
        return await codes.create_code(self.postgres, self.clock, account_id, wish)

    async def code_of(
        self, account_id: str, vanity: str | None = None, *, lasts: timedelta | None = None, max_uses: int | None = None
    ) -> str:
        return (await self.make_code(account_id, vanity, lasts=lasts, max_uses=max_uses))[0].code

    async def active_code(self, account_id: str) -> Code:
        return await codes.get_code(self.postgres, self.clock, account_id)

    async def expire_codes(self) -> int:
        return await codes.expire_codes(self.postgres, self.clock.now())

    async def register(
        self, account_id: str, code: str, *, age: timedelta | None = timedelta(0), channel: str | None = None
    ) -> Registered:
        created = None if age is None else self.clock.now() - age
        return await registration.register(
            self.postgres, self.clock, self.limits, SignUp(account_id, code, created, channel)
        )

    async def try_register(self, account_id: str, code: str, *, age: timedelta | None = timedelta(0)) -> str:
        """The outcome in a word: "bound", "already_bound" or the reason of the refusal."""
        try:
            registered = await self.register(account_id, code, age=age)
        except Refusal as refusal:
            return refusal.reason
        return "already_bound" if registered.already_bound else "bound"

    async def resolve(self, *account_ids: str) -> list[Attribution]:
        return await attribution.resolve_attribution(self.postgres, self.clock, account_ids)

    async def ref(self, account_id: str) -> str:
        refs = await attribution.resolve_accounts(self.postgres, [account_id], existing_only=False)
        return str(refs[account_id])

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        async with self.postgres.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *args)]

    async def execute(self, statement: str, *args: object) -> None:
        async with self.postgres.transaction() as connection:
            await connection.execute(statement, *args)

    async def log(self, account_id: str) -> list[dict[str, Any]]:
        """The attempts of an account, oldest first."""
        return await self.rows(
            """
            SELECT log.* FROM referral_attribution_log log JOIN accounts ON account_ref = referee_ref
            WHERE account_id = $1 ORDER BY attempt_id
            """,
            account_id,
        )

    async def events(self) -> list[tuple[str, events_pb2.Registration]]:
        """What waits in the outbox, in the order it was written: key and message."""
        rows = await self.rows("SELECT key, payload FROM outbox ORDER BY id")
        return [(row["key"], events_pb2.Registration.FromString(row["payload"])) for row in rows]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Referral]:
    async with await Postgres.open(dsn, schema="referral", pool_max=20) as postgres:
        yield Referral(postgres)
