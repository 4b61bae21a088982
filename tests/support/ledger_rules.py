"""What operators and jobs do to the rules, on the ledger and in plain numbers; every step said twice."""

import itertools
from datetime import timedelta

from libs.money import Rates
from protos.distribution.v1 import rules_pb2
from services.distribution.commands import governance, margins
from services.distribution.model.campaigns import Order
from services.distribution.store import governance as store
from tests.support.distribution import Ledger
from tests.support.ledger_model import Model

_requests = itertools.count()


class Rules:
    """The part of an example that changes rates and suspends its tier, which has the example's name."""

    def __init__(self, ledger: Ledger, model: Model, name: str) -> None:
        self.ledger, self.model, self.name = ledger, model, name

    async def begin_rules(self) -> None:
        """What examples before this one left in force began before it."""
        self.ledger.clock.advance(timedelta(seconds=1))
        async with self.ledger.postgres.connection() as connection:
            rates = (await store.active(connection)).rates
        self.model.rules = [(None, (rates.referrer_bps, rates.commons_bps, rates.community_bps))]

    async def judge(self) -> None:
        """At the next whole minute, as the job does."""
        clock = self.ledger.clock
        due = clock.now().replace(second=0, microsecond=0) + timedelta(minutes=1)
        clock.advance(due - clock.now())
        for _ in range(2):
            await margins.judge_tiers(self.ledger.postgres, clock, due)
        self.model.judge(due)

    async def rule(self, referrer: int, commons: int) -> None:
        """Other rates, by two operators and after a week."""
        postgres, clock = self.ledger.postgres, self.ledger.clock
        rates = Rates(referrer, commons, 6000, 4000 - commons)
        proposal = rules_pb2.ProposeRuleRequest(request_id=f"{self.name}-rule-{next(_requests)}")
        week = timedelta(days=7)
        draft = await governance.propose_rule(postgres, clock, proposal, Order("ann", "why"), rates, week)
        version, request_id = draft.rule.rule_version, f"{self.name}-rule-{next(_requests)}"
        submission = rules_pb2.SubmitRuleRequest(request_id=request_id, rule_version=version)
        await governance.submit_rule(postgres, clock, submission, Order("ann", "why"))
        await self.approve(version)
        clock.advance(week)
        for _ in range(2):
            await governance.activate_cooled(postgres, clock)
        self.model.change_rates((referrer, commons, 6000), clock.now())

    async def kill(self) -> None:
        """No share for referrers, at once."""
        request = rules_pb2.ProposeKillSwitchRequest(request_id=f"{self.name}-rule-{next(_requests)}")
        draft = await governance.propose_kill_switch(
            self.ledger.postgres, self.ledger.clock, request, Order("ann", "why")
        )
        await self.approve(draft.rule.rule_version)
        self.model.change_rates((0, *self.model.rules[-1][1][1:]), self.ledger.clock.now())

    async def approve(self, version: int) -> None:
        request = rules_pb2.ApproveRuleRequest(request_id=f"{self.name}-rule-{next(_requests)}", rule_version=version)
        for _ in range(2):
            await governance.approve_rule(self.ledger.postgres, self.ledger.clock, request, Order("bob", "why"))
