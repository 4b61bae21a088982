"""Random governance against a dict, and the split in SQL against the one in Python."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.clock import ManualClock
from libs.money import MAX_MICRO, Rates, split
from libs.postgres import Postgres
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution.commands import governance
from services.distribution.model.campaigns import Order
from services.distribution.model.governance import RuleState
from services.distribution.store import governance as store
from services.distribution.store import whatif
from tests.support.distribution import NOW
from tests.support.treasury import outcome

EXAMPLES = settings(suppress_health_check=list(HealthCheck), deadline=None)
WEEK = timedelta(days=7)
OPERATORS = ["ann", "bob"]

amount = st.one_of(st.integers(1, 20_000), st.integers(1, MAX_MICRO), st.just(MAX_MICRO))


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    commons = draw(st.integers(0, 10_000))
    community = draw(st.integers(0, 10_000 - commons))
    return Rates(draw(st.integers(0, 5000)), commons, community, 10_000 - commons - community)


@pytest.fixture(scope="module")
async def postgres(databases: Any) -> AsyncIterator[Postgres]:
    name = await databases.create("distribution")
    async with await Postgres.open(databases.dsn_of(name), schema="distribution") as opened:
        yield opened
    await databases.drop(name)


@EXAMPLES
@given(paid=st.lists(st.tuples(amount, st.booleans()), min_size=1, max_size=50), by=rates())
async def test_the_database_splits_as_python_does(postgres: Postgres, paid: list[tuple[int, bool]], by: Rates) -> None:
    async with postgres.transaction(readonly=True) as connection:
        rows = await connection.fetch(
            f"""
            SELECT referrer, commons, community, paid_micro - referrer - commons - community
            FROM unnest($4::bigint[], $5::boolean[]) WITH ORDINALITY AS replayed (paid_micro, referred, place),
                {whatif.SPLIT}
            ORDER BY place
            """,  # noqa: S608 - constant
            by.referrer_bps,
            by.commons_bps,
            by.community_bps,
            [micro for micro, _ in paid],
            [referred for _, referred in paid],
        )
    expected = [split(micro, by, referred=referred) for micro, referred in paid]
    assert [tuple(row) for row in rows] == [
        (each.referrer_micro, each.commons_micro, each.community_micro, each.foundation_micro) for each in expected
    ]


class World:
    """Rules of one example after those of the others, in a dict and in the database."""

    def __init__(self, postgres: Postgres, clock: ManualClock) -> None:
        self.postgres, self.clock = postgres, clock
        self.states: dict[int, str] = {}
        self.by: dict[int, str] = {}
        self.kills: set[int] = set()
        self.cooled: dict[int, datetime] = {}
        self.active = 0
        self.requests = 0
        self.stem = ""

    async def begin(self) -> None:
        async with self.postgres.connection() as connection:
            # What earlier examples left to cool down is done with.
            rows = await connection.fetch("SELECT rule_version FROM rule_proposals WHERE state IN (2, 3)")
            self.active = (await store.active(connection)).rule_version
            self.stem = str(await connection.fetchval("SELECT sequence FROM rule_governance"))
        for (version,) in rows:
            request = pb.RejectRuleRequest(request_id=f"end-{self.stem}-{version}", rule_version=version)
            await governance.reject_rule(self.postgres, self.clock, request, Order("olga", "over"))

    def version(self, number: int) -> int:
        return list(self.states)[number % len(self.states)] if self.states else 10**6

    def asked(self) -> str:
        self.requests += 1
        return f"{self.stem}-{self.requests}"

    async def propose(self, operator: str, by: Rates) -> None:
        request = pb.ProposeRuleRequest(request_id=self.asked())
        made = await governance.propose_rule(self.postgres, self.clock, request, Order(operator, "why"), by, WEEK)
        self.states[made.rule.rule_version] = "DRAFT"
        self.by[made.rule.rule_version] = operator

    async def kill(self, operator: str) -> None:
        request = pb.ProposeKillSwitchRequest(request_id=self.asked())
        made = await governance.propose_kill_switch(self.postgres, self.clock, request, Order(operator, "why"))
        version = made.rule.rule_version
        self.states[version], self.by[version] = "PENDING_APPROVAL", operator
        self.kills.add(version)

    async def submit(self, number: int, operator: str) -> None:
        version = self.version(number)
        request = pb.SubmitRuleRequest(request_id=self.asked(), rule_version=version)
        said = await self.said(governance.submit_rule, request, operator)
        if self.expect(said, version, "DRAFT"):
            self.states[version] = "PENDING_APPROVAL"

    async def approve(self, number: int, operator: str) -> None:
        version = self.version(number)
        request = pb.ApproveRuleRequest(request_id=self.asked(), rule_version=version)
        said = await self.said(governance.approve_rule, request, operator)
        if self.states.get(version) == "PENDING_APPROVAL" and operator == self.by[version]:
            assert said == "RULE_NEEDS_SECOND"
        elif self.expect(said, version, "PENDING_APPROVAL"):
            if version in self.kills:
                self.put_in_force(version)
                self.states |= {each: "REJECTED" for each, state in self.states.items() if state == "COOLING_DOWN"}
            else:
                self.states[version] = "COOLING_DOWN"
                self.cooled[version] = self.clock.now() + WEEK

    async def reject(self, number: int, operator: str) -> None:
        version = self.version(number)
        request = pb.RejectRuleRequest(request_id=self.asked(), rule_version=version)
        said = await self.said(governance.reject_rule, request, operator)
        if self.expect(said, version, "PENDING_APPROVAL", "COOLING_DOWN"):
            self.states[version] = "REJECTED"

    async def wait(self, days: int) -> None:
        self.clock.advance(timedelta(days=days))
        cooled = sorted(
            (until, version)
            for version, until in self.cooled.items()
            if until <= self.clock.now() and self.states[version] == "COOLING_DOWN"
        )
        assert await governance.activate_cooled(self.postgres, self.clock) == len(cooled)
        for _, version in cooled:
            self.put_in_force(version)

    def put_in_force(self, version: int) -> None:
        if self.active in self.states:
            self.states[self.active] = "SUPERSEDED"
        self.active, self.states[version] = version, "ACTIVE"

    def expect(self, said: str, version: int, *states: str) -> bool:
        known = version in self.states
        expected = "DONE" if self.states.get(version) in states else "RULE_STATE_WRONG" if known else "RULE_UNKNOWN"
        assert said == expected
        return said == "DONE"

    async def said(self, command: Any, request: Any, operator: str) -> str:
        """Everything is said twice, and answered once."""
        first = await outcome(command(self.postgres, self.clock, request, Order(operator, "why")))
        assert await outcome(command(self.postgres, self.clock, request, Order(operator, "why"))) == first
        return first

    async def check(self) -> None:
        async with self.postgres.connection() as connection:
            rows = await connection.fetch(
                "SELECT rule_version, state FROM rule_proposals WHERE rule_version = ANY ($1)", list(self.states)
            )
            assert {version: RuleState(state).name for version, state in rows} == self.states
            assert (await store.active(connection)).rule_version == self.active
            assert await connection.fetchval(_LAST) == self.active
            assert await connection.fetchval(_GAPS) == 0
            assert await connection.fetchval(_APART) == 0


_LAST = "SELECT rule_version FROM rules ORDER BY active_from DESC LIMIT 1"
_GAPS = "SELECT max(sequence) - count(*) FROM rule_audit"
# Rules in force and proposals that were say the same, and follow one another without a gap.
_APART = """
    SELECT count(*) FROM rule_proposals AS said
    FULL JOIN (SELECT *, lead(active_from) OVER (ORDER BY active_from) AS until FROM rules) AS held USING (rule_version)
    WHERE coalesce(said.state, 4) IN (4, 5) AND (
        said.active_from, said.referrer_bps, said.commons_bps, said.community_bps
    ) IS DISTINCT FROM (held.active_from, held.referrer_bps, held.commons_bps, held.community_bps)
    OR said.state IN (4, 5) AND said.active_to IS DISTINCT FROM held.until
    """

who = st.sampled_from(OPERATORS)
which = st.integers(0, 5)
step = st.one_of(
    st.tuples(st.just("propose"), who, rates()),
    st.tuples(st.just("submit"), which, who),
    st.tuples(st.just("submit"), which, who),
    st.tuples(st.just("approve"), which, who),
    st.tuples(st.just("approve"), which, who),
    st.tuples(st.just("reject"), which, who),
    st.tuples(st.just("kill"), who),
    st.tuples(st.just("wait"), st.sampled_from([1, 6, 7])),
)


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(NOW)


@EXAMPLES
@given(steps=st.lists(step, min_size=4, max_size=20))
async def test_rules_are_where_a_dict_says_after_every_step(
    postgres: Postgres, clock: ManualClock, steps: list[tuple[Any, ...]]
) -> None:
    world = World(postgres, clock)
    await world.begin()
    for name, *arguments in steps:
        await getattr(world, name)(*arguments)
        await world.check()
