"""Random lives of bonuses, cut anywhere between their two sides, on a real PostgreSQL and a real ledger."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.refusals import Refusal
from protos.distribution.v1 import campaigns_pb2 as pb
from services.referral.commands import bonuses
from services.referral.model import Standing
from services.referral.model.bonuses import BonusTerms
from tests.conftest import Database
from tests.support.bonuses import BONUS, DAY, Bonuses, Killed, Replica, bonuses_running

EXAMPLES = max(8, settings().max_examples // 5)
CAP = 3
BUDGET = 4
"""Bonuses that the campaign has money for."""

referee = st.integers(0, 7)
replica = st.integers(0, 1)
net = st.sampled_from([BONUS - 1, BONUS, 2 * BONUS])
STEPS = {
    "act": st.tuples(st.just("act"), referee, net),
    "buy": st.tuples(st.just("buy"), referee, net),
    "refund": st.tuples(st.just("refund"), referee, st.sampled_from([0, BONUS - 1, BONUS])),
    "run": st.tuples(st.just("run"), replica),
    "advance": st.tuples(st.just("advance"), st.sampled_from([1, 7, 7, 31])),
    "cut": st.tuples(
        st.just("cut"),
        replica,
        st.sampled_from(["ReserveBudget", "ReleaseBudget", "BatchGrant", "BatchGrant"]),
        st.sampled_from(["killed_before", "killed_after", "lost"]),
    ),
    "heal": st.tuples(st.just("heal")),
    "review": st.tuples(st.just("review"), st.booleans()),
    "stand": st.tuples(st.just("stand"), st.integers(0, 1), st.sampled_from([Standing.GOOD, Standing.SUSPENDED])),
    "pause": st.tuples(st.just("pause")),
    "activate": st.tuples(st.just("activate")),
    "together": st.tuples(st.just("together"), referee),
}
OFTEN = {"act": 5, "buy": 4, "refund": 2, "run": 6, "advance": 3, "cut": 2, "heal": 2, "review": 2, "stand": 1}
OFTEN |= {"pause": 1, "activate": 2, "together": 2}
step = st.sampled_from([name for name, often in OFTEN.items() for _ in range(often)]).flatmap(STEPS.__getitem__)


class Life:
    """One example: eight referees of two creators, the odd ones of each suspicious, and a campaign of their own."""

    _numbers = itertools.count()

    def __init__(self, mesh: Bonuses, campaign_id: str) -> None:
        self.mesh = mesh
        self.campaign_id = campaign_id
        self.name = f"life-{next(self._numbers)}"
        self.replicas = [Replica(mesh) for _ in range(2)]

    async def begin(self) -> None:
        for number in range(8):
            ref = await self.mesh.bind(self.referee(number), self.creator(number % 2))
            if number in (2, 5):
                self.mesh.suspicious.add(ref)

    def referee(self, number: int) -> str:
        return f"{self.name} referee {number}"

    def creator(self, number: int) -> str:
        return f"{self.name} creator {number}"

    async def act(self, number: int, paid_micro: int) -> None:
        await self.mesh.act(self.referee(number), paid_micro)

    async def buy(self, number: int, net_micro: int) -> None:
        await self.mesh.buy(self.referee(number), net_micro, f"{self.name} order {number}")

    async def refund(self, number: int, left_micro: int) -> None:
        await self.mesh.buy(self.referee(number), left_micro, f"{self.name} order {number}", refunded=True)

    async def run(self, number: int) -> None:
        try:
            await self.replicas[number].run()
        except Killed:
            await self.mesh.assert_bounded()

    async def advance(self, days: int) -> None:
        self.mesh.clock.advance(days * DAY)

    async def cut(self, number: int, method: str, how: str) -> None:
        getattr(self.replicas[number].link, how).add(method)

    async def heal(self) -> None:
        for each in self.replicas:
            each.link.heal()

    async def review(self, cleared: bool) -> None:  # noqa: FBT001 - drawn
        for bonus in await self.own("state = 'withheld' AND cleared_at IS NULL"):
            await self.mesh.review(bonus["bonus_id"], cleared=cleared)

    async def stand(self, number: int, standing: Standing) -> None:
        await self.mesh.stand(self.creator(number), standing)

    async def pause(self) -> None:
        await _if_it_may(self.mesh.campaigns.pause(self.campaign_id))

    async def activate(self) -> None:
        await _if_it_may(self.mesh.campaigns.activate(self.campaign_id))

    async def together(self, number: int) -> None:
        await asyncio.gather(
            self.run(0), self.run(1), self.act(number, BONUS), self.act(number, BONUS), self.buy(number, BONUS)
        )

    async def own(self, condition: str) -> list[dict[str, Any]]:
        refs = [await self.mesh.ref(self.creator(number)) for number in range(2)]
        return list(
            await self.mesh.commands.rows(
                f"SELECT * FROM bonuses WHERE referrer_ref = ANY ($1) AND {condition} ORDER BY created_at",  # noqa: S608
                refs,
            )
        )

    async def end(self) -> list[dict[str, Any]]:
        """Everything is answered again, and time passes: what is left waits for a reviewer, or is decided."""
        await self.heal()
        await self.activate()
        for number in range(2):
            await self.mesh.stand(self.creator(number), Standing.GOOD)
        for _ in range(3):
            self.mesh.clock.advance(8 * DAY)
            await self.run(0)
        return await self.own("true")


async def _if_it_may(move: Any) -> None:
    try:
        await move
    except Exception as error:
        if "CAMPAIGN_MOVE_REFUSED" not in str(error) and "cannot do that" not in str(error):
            raise


@pytest.fixture
async def mesh(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bonuses]:
    async with bonuses_running(database, monkeypatch) as mesh:
        mesh.terms = replace(BonusTerms(), cap=CAP)
        yield mesh


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=8, max_size=30))
async def test_whatever_is_cut_each_bonus_is_granted_once_or_never(mesh: Bonuses, steps: list[tuple[Any, ...]]) -> None:
    life = Life(mesh, await mesh.campaigns.active(BUDGET * BONUS))
    await life.begin()
    for kind, *args in steps:
        await getattr(life, kind)(*args)
    rows = await life.end()
    await mesh.assert_bounded()
    for row in rows:
        assert row["sent_at"] is None
        assert (row["state"], row["budget"]) in {
            ("granted", "granted"),
            ("withheld", "reserved"),
            ("denied", "released"),
            ("denied", "none"),
        }
        assert row["state"] != "granted" or not row["flagged"] or row["cleared_by"] == "review"
    _assert_cap(rows)
    await _assert_budget(mesh, life, rows)
    await _close(mesh, life)


def _assert_cap(rows: list[dict[str, Any]]) -> None:
    for referrer_ref in {row["referrer_ref"] for row in rows}:
        made = [row["created_at"] for row in rows if row["referrer_ref"] == referrer_ref and row["state"] != "denied"]
        assert all(later - earlier >= timedelta(days=30) for earlier, later in zip(made, made[CAP:], strict=False))


async def _assert_budget(mesh: Bonuses, life: Life, rows: list[dict[str, Any]]) -> None:
    campaign: pb.Campaign = await mesh.campaigns.get(life.campaign_id)
    granted = sum(row["amount_micro"] for row in rows if row["state"] == "granted")
    reserved = sum(row["amount_micro"] for row in rows if row["state"] == "withheld")
    assert (campaign.granted_micro, campaign.reserved_micro) == (granted, reserved)
    assert campaign.available_micro == BUDGET * BONUS - granted - reserved >= 0
    paid = [await mesh.credits_of(life.creator(number)) for number in range(2)]
    assert sum(each.get("referral:signup", 0) for each in paid) == granted


async def _close(mesh: Bonuses, life: Life) -> None:
    """Leaves nothing behind for the next life."""
    for number in range(2):
        async with mesh.commands.postgres.transaction() as connection:
            await bonuses.deny_open(connection, await mesh.ref(life.creator(number)), "OVER", mesh.clock.now())
    await life.run(0)
    await mesh.campaigns.complete(life.campaign_id)


async def test_a_decided_bonus_cannot_be_reviewed_again(mesh: Bonuses) -> None:
    await mesh.campaigns.active(BUDGET * BONUS)
    [bonus_id] = await mesh.earn("referee")
    mesh.suspicious.add(await mesh.ref("referee"))
    await mesh.pass_hold()
    await mesh.replica.run()
    decisions = await asyncio.gather(
        *(mesh.review(bonus_id, cleared=cleared) for cleared in (True, False, True)), return_exceptions=True
    )
    assert sum(not isinstance(each, Refusal) for each in decisions) >= 1
    await mesh.replica.run()
    await mesh.replica.run()
    state = (await mesh.row(bonus_id))["state"]
    assert (await mesh.credits_of("creator") == {}) is (state == "denied")
    assert state in ("granted", "denied")
