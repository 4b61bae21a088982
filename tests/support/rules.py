"""Rules and their operators, through the real door beside the ledger that obeys them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from libs import rpc
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, rules_pb2_grpc
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution.commands import audit, governance
from services.distribution.servicer.rules import CALLERS, RulesServicer
from tests.support.distribution import Ledger

WEEK = timedelta(days=7)
INITIAL = (1000, 500, 7000, 2500)


def rates(referrer: int = 800, commons: int = 1000, community: int = 6000, foundation: int = 3000) -> pb.RuleRates:
    return pb.RuleRates(referrer_bps=referrer, commons_bps=commons, community_bps=community, foundation_bps=foundation)


def order(operator: str = "ann", reason: str = "why", request_id: str = "") -> dict[str, Any]:
    return {"request_id": request_id or str(uuid.uuid4()), "operator_id": operator, "reason": reason}


class Governance:
    """What operators do with rules."""

    def __init__(self, ledger: Ledger, stub: Any) -> None:
        self.ledger = ledger
        self.stub = stub

    async def propose(self, wanted: pb.RuleRates | None = None, operator: str = "ann", days: int = 0) -> pb.RevenueRule:
        request = pb.ProposeRuleRequest(rates=wanted or rates(), cooling_days=days, **order(operator))
        rule: pb.RevenueRule = (await self.stub.ProposeRule(request)).rule
        return rule

    async def submit(self, version: int, operator: str = "ann") -> pb.RevenueRule:
        rule: pb.RevenueRule = (
            await self.stub.SubmitRule(pb.SubmitRuleRequest(rule_version=version, **order(operator)))
        ).rule
        return rule

    async def approve(self, version: int, operator: str = "bob", request_id: str = "") -> pb.RevenueRule:
        request = pb.ApproveRuleRequest(rule_version=version, **order(operator, request_id=request_id))
        rule: pb.RevenueRule = (await self.stub.ApproveRule(request)).rule
        return rule

    async def reject(self, version: int, operator: str = "bob") -> pb.RevenueRule:
        rule: pb.RevenueRule = (
            await self.stub.RejectRule(pb.RejectRuleRequest(rule_version=version, **order(operator)))
        ).rule
        return rule

    async def kill(self, operator: str = "ann") -> pb.RevenueRule:
        rule: pb.RevenueRule = (await self.stub.ProposeKillSwitch(pb.ProposeKillSwitchRequest(**order(operator)))).rule
        return rule

    async def cooling(self, wanted: pb.RuleRates | None = None, days: int = 0) -> int:
        """A rule that was approved just now; its version."""
        rule = await self.propose(wanted, days=days)
        await self.submit(rule.rule_version)
        return (await self.approve(rule.rule_version)).rule_version

    async def activate(self) -> int:
        return await governance.activate_cooled(self.ledger.postgres, self.ledger.clock)

    async def get(self, version: int) -> pb.RevenueRule:
        rule: pb.RevenueRule = (await self.stub.GetRule(pb.GetRuleRequest(rule_version=version))).rule
        return rule

    async def active(self, at: datetime | None = None) -> int:
        request = pb.GetActiveRuleRequest(at=to_timestamp(at) if at else None)
        return int((await self.stub.GetActiveRule(request)).rule.rule_version)

    async def simulate(self, from_time: datetime, to_time: datetime, **candidate: Any) -> pb.SimulateRuleResponse:
        request = pb.SimulateRuleRequest(
            from_time=to_timestamp(from_time), to_time=to_timestamp(to_time), **({"losers": 10} | candidate)
        )
        answer: pb.SimulateRuleResponse = await self.stub.SimulateRule(request)
        return answer

    async def told(self) -> list[tuple[int, str]]:
        """Versions and states of the events, in order."""
        rows = await self.ledger.rows("SELECT payload FROM outbox WHERE topic = 'distribution.rules.v1' ORDER BY id")
        events = [events_pb2.RuleChanged.FromString(row["payload"]) for row in rows]
        return [(each.rule_version, name(each.state)) for each in events]

    async def acts(self, version: int = 0) -> list[tuple[int, int, str, str, str]]:
        """Sequence, version, states and operator of the audit, newest first."""
        answer = await self.stub.ListRuleAudit(pb.ListRuleAuditRequest(rule_version=version, page_size=200))
        return [
            (row.sequence, row.rule_version, name(row.from_state), name(row.to_state), row.operator_id)
            for row in answer.rows
        ]


def name(state: "events_pb2.RuleState.ValueType") -> str:
    return events_pb2.RuleState.Name(state).removeprefix("RULE_STATE_")


@asynccontextmanager
async def governed(ledger: Ledger) -> AsyncIterator[Governance]:
    """RulesService of one replica on a real port."""
    server = rpc.Server("distribution", test_mode=True, drain_wait_seconds=0)
    server.add(
        rules_pb2_grpc.add_RulesServiceServicer_to_server,
        RulesServicer(ledger.postgres, ledger.clock, cooling=WEEK),
        "creator.distribution.v1.RulesService",
        CALLERS,
    )
    await server.start()
    await server.ready()
    try:
        async with rpc.channel(f"127.0.0.1:{server.port}", caller="gateway") as channel:
            yield Governance(ledger, rules_pb2_grpc.RulesServiceStub(channel))
    finally:
        await server.drain(hasty=True)


async def assert_audited(ledger: Ledger) -> None:
    """An audit of the ledger finds nothing."""
    connection = await ledger.postgres.dedicated()
    try:
        _, results = await audit.examine(connection)
    finally:
        await connection.close()
    assert {each.invariant: each.first for each in results if each.violations} == {}
