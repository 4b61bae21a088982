"""Bonuses between the real referral and the real distribution, over a link that can be cut on either side of a call."""

import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.clock import ManualClock
from libs.postgres import Connection
from protos.referral.v1 import events_pb2
from services.referral.commands import bonuses, checking, qualifying
from services.referral.commands.budgets import Budgets
from services.referral.commands.granting import Granting
from services.referral.model import Limits, Standing
from services.referral.model.bonuses import (
    Action,
    ActionKind,
    ActionSource,
    Bonus,
    BonusTerms,
    Purchase,
    Verdict,
)
from tests.conftest import Database
from tests.support.campaigns import Campaigns, campaigns_running
from tests.support.distribution import NOW, ledger_running, referral_running
from tests.support.events import Unanswered

DOLLAR = 1_000_000
BONUS = 5 * DOLLAR
DAY = timedelta(days=1)
NOBODY = uuid.UUID(int=0)


class Killed(Exception):
    """The process died here."""


class Link:
    """The campaigns' stub of one replica. `away` answers nothing; a method in `cut` is called, its answer is lost."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.away = False
        self.killed_before: set[str] = set()
        self.killed_after: set[str] = set()
        self.lost: set[str] = set()
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        async def call(request: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name in self.killed_before:
                raise Killed
            if self.away:
                raise Unanswered
            answer = await getattr(self._stub, name)(request, **options)
            if name in self.killed_after:
                raise Killed
            if name in self.lost:
                raise Unanswered
            return answer

        return call

    def heal(self) -> None:
        self.away = False
        for cuts in (self.killed_before, self.killed_after, self.lost):
            cuts.clear()


class Replica:
    """What one process of referral does by time."""

    def __init__(self, mesh: "Bonuses") -> None:
        self.link = Link(mesh.campaigns.stub)
        campaigns: Any = self.link
        self.budgets = Budgets(mesh.commands.postgres, mesh.clock, campaigns)
        self.granting = Granting(mesh.commands.postgres, mesh.clock, campaigns)
        self._clock = mesh.clock

    async def run(self) -> None:
        """Every job once, in their order."""
        for job in (
            self.budgets.release_all,
            self.budgets.reserve_all,
            self.granting.check_all,
            self.granting.grant_all,
        ):
            await job(self._clock.now())


class Bonuses:
    """A referral with its distribution; the checks say what a test tells them to."""

    def __init__(self, commands: Any, campaigns: Campaigns) -> None:
        self.commands = commands
        self.campaigns = campaigns
        self.clock = ManualClock(NOW)
        commands.clock = self.clock
        commands.limits = Limits(bindings_per_code=10_000)
        self.terms = BonusTerms()
        self.suspicious: set[uuid.UUID] = set()
        """Referees that the checks flag."""
        self.unjudged: set[uuid.UUID] = set()
        """Referees about whom the checks fail."""
        self.replica = Replica(self)
        self.link = self.replica.link
        self._numbers = itertools.count()

    async def check(self, _connection: Connection, bonus: Bonus, *, now: datetime) -> Verdict:
        assert bonus.hold_until <= now
        if bonus.referee_ref in self.unjudged:
            raise RuntimeError("the checks are broken")
        flagged = bonus.referee_ref in self.suspicious
        return Verdict(flagged, 3000 if flagged else 0, "FLAGGED" if flagged else "")

    async def bind(self, referee: str, referrer: str = "creator") -> uuid.UUID:
        """Binds a referee; its surrogate."""
        await self.commands.register(referee, await self.commands.code_of(referrer))
        return await self.ref(referee)

    async def ref(self, account_id: str) -> uuid.UUID:
        return uuid.UUID(await self.commands.ref(account_id))

    def action(self, paid_micro: int = BONUS, action_id: str = "", **other: Any) -> Action:
        plain = Action(
            ActionSource.BILLING,
            ActionKind.CREDIT_PURCHASE,
            action_id or f"action-{next(self._numbers)}",
            NOBODY,
            paid_micro,
            self.clock.now(),
        )
        return replace(plain, **other)

    async def act(self, account_id: str, paid_micro: int = BONUS, action_id: str = "", **other: Any) -> Any:
        action = self.action(paid_micro, action_id, **other)
        return await qualifying.record_action(self.commands.postgres, self.clock, self.terms, account_id, action)

    async def earn(self, *referees: str, referrer: str = "creator") -> list[uuid.UUID]:
        """Binds and lets each act; the ids of the bonuses."""
        made = []
        for referee in referees:
            await self.bind(referee, referrer)
            made.append((await self.act(referee)).bonus.bonus_id)
        return made

    async def buy(
        self, account_id: str, net_micro: int, order_id: str, *, confirmed: bool = True, refunded: bool = False
    ) -> None:
        """What an event of a purchase does."""
        at = self.clock.now()
        purchase = Purchase(order_id, await self.ref(account_id), confirmed, net_micro, refunded, at)
        async with self.commands.postgres.transaction() as connection:
            await qualifying.take_purchases(connection, [purchase], now=at, terms=self.terms)

    async def pass_hold(self) -> None:
        """The budget is reserved, and the hold period passes."""
        await self.replica.run()
        self.clock.advance(self.terms.hold)

    async def review(self, bonus_id: uuid.UUID, *, cleared: bool) -> Bonus:
        async with self.commands.postgres.transaction() as connection:
            return await bonuses.review(connection, bonus_id, cleared=cleared, reason="CONFIRMED", now=self.clock.now())

    async def stand(self, account_id: str, standing: Standing) -> None:
        await self.commands.execute(
            """
            INSERT INTO standings (account_ref, standing, revision, changed_at) VALUES ($1, $2, 1, $3)
            ON CONFLICT (account_ref) DO UPDATE SET standing = $2, revision = standings.revision + 1
            """,
            await self.ref(account_id),
            standing,
            self.clock.now(),
        )

    async def row(self, bonus_id: uuid.UUID) -> dict[str, Any]:
        [row] = await self.commands.rows("SELECT * FROM bonuses WHERE bonus_id = $1", bonus_id)
        return dict(row)

    async def stands(self, bonus_id: uuid.UUID) -> tuple[str, str, str]:
        """State, reason and budget."""
        row = await self.row(bonus_id)
        return row["state"], row["reason"], row["budget"]

    async def states(self) -> Counter[str]:
        rows = await self.commands.rows("SELECT state FROM bonuses")
        return Counter(row["state"] for row in rows)

    async def told(self, bonus_id: uuid.UUID) -> list[tuple[str, str]]:
        """States and reasons of a bonus as others were told, in their order."""
        rows = await self.commands.rows("SELECT payload FROM outbox WHERE topic = 'referral.bonuses.v1' ORDER BY id")
        events = [events_pb2.Bonus.FromString(row["payload"]) for row in rows]
        return [
            (events_pb2.BonusState.Name(event.state).removeprefix("BONUS_STATE_"), event.reason)
            for event in events
            if event.bonus_id == str(bonus_id)
        ]

    async def credits_of(self, account_id: str) -> dict[str, int]:
        found = await self.campaigns.credits(account_id)
        return {pool.pool: pool.amount_micro for pool in found.pools}

    async def assert_bounded(self) -> None:
        """No phantom reward, none twice, and no more than was funded: what both sides hold is the same."""
        rows = await self.commands.rows("SELECT * FROM bonuses")
        granted = {str(row["bonus_id"]): row["amount_micro"] for row in rows if row["state"] == "granted"}
        ledger = self.campaigns.ledger
        lots = await ledger.rows("SELECT grant_id, granted_micro, account_ref, pool FROM credit_lots")
        by_grant = {lot["grant_id"]: lot for lot in lots}
        assert len(lots) == len(by_grant)
        assert granted.items() <= {name: lot["granted_micro"] for name, lot in by_grant.items()}.items()
        # What is granted and not recorded yet is marked as sent.
        sent = {str(row["bonus_id"]) for row in rows if row["sent_at"] is not None}
        assert by_grant.keys() - granted.keys() <= sent
        referrers = {str(row["bonus_id"]): str(row["referrer_ref"]) for row in rows}
        assert all(str(lot["account_ref"]) == referrers[name] for name, lot in by_grant.items())
        assert {lot["pool"] for lot in lots} <= {"referral:signup"}
        phantoms = await self.commands.rows(
            """
            SELECT bonus_id FROM bonuses
            LEFT JOIN referral_registrations AS bound USING (referee_ref, referrer_ref)
            LEFT JOIN qualifying_actions AS action USING (action_id, source)
            WHERE bound.kind IS DISTINCT FROM 'referred' OR action.account_ref IS DISTINCT FROM referee_ref
            """
        )
        assert phantoms == []
        await self.campaigns.check_books()


@asynccontextmanager
async def bonuses_running(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bonuses]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        mesh = Bonuses(referral.commands, campaigns)
        monkeypatch.setattr(checking, "check", mesh.check)
        yield mesh
        await mesh.assert_bounded()
