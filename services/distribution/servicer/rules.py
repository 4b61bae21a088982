"""creator.distribution.v1.RulesService: who may change the split, how, and from when."""

from datetime import timedelta
from typing import Final

from libs.clock import Clock
from libs.money import Rates
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.distribution.v1 import events_pb2, rules_pb2_grpc
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution.commands import governance
from services.distribution.model.governance import Act
from services.distribution.model.margins import Suspension
from services.distribution.model.whatif import Question, Shares
from services.distribution.rules import governance as rules
from services.distribution.rules import margins as tiers
from services.distribution.rules import whatif as simulations
from services.distribution.rules.campaigns import check_order
from services.distribution.store import governance as store
from services.distribution.store import margins, whatif

_OPERATORS: Final = frozenset({"gateway"})

CALLERS: Final = {
    "ProposeRule": _OPERATORS,
    "UpdateRule": _OPERATORS,
    "SubmitRule": _OPERATORS,
    "ApproveRule": _OPERATORS,
    "RejectRule": _OPERATORS,
    "ProposeKillSwitch": _OPERATORS,
    "GetRule": _OPERATORS,
    "ListRules": _OPERATORS,
    "GetActiveRule": _OPERATORS,
    "SimulateRule": _OPERATORS,
    "ListRuleAudit": _OPERATORS,
    "ListTierSuspensions": _OPERATORS,
}
"""Who may call what, by the name in the caller's certificate."""


class RulesServicer(rules_pb2_grpc.RulesServiceServicer):
    """creator.distribution.v1.RulesService."""

    def __init__(self, postgres: Postgres, clock: Clock, *, cooling: timedelta) -> None:
        self._postgres = postgres
        self._clock = clock
        self._cooling = cooling

    async def ProposeRule(self, request: pb.ProposeRuleRequest, context: Context) -> pb.ProposeRuleResponse:
        order, rates = check_order(request.operator_id, request.reason), _read_rates(request)
        cooling = rules.check_cooling(request.cooling_days, self._cooling)
        return await governance.propose_rule(self._postgres, self._clock, request, order, rates, cooling)

    async def UpdateRule(self, request: pb.UpdateRuleRequest, context: Context) -> pb.UpdateRuleResponse:
        order, rates = check_order(request.operator_id, request.reason), _read_rates(request)
        cooling = rules.check_cooling(request.cooling_days, self._cooling)
        return await governance.update_rule(self._postgres, self._clock, request, order, rates, cooling)

    async def SubmitRule(self, request: pb.SubmitRuleRequest, context: Context) -> pb.SubmitRuleResponse:
        order = check_order(request.operator_id, request.reason)
        return await governance.submit_rule(self._postgres, self._clock, request, order)

    async def ApproveRule(self, request: pb.ApproveRuleRequest, context: Context) -> pb.ApproveRuleResponse:
        order = check_order(request.operator_id, request.reason)
        return await governance.approve_rule(self._postgres, self._clock, request, order)

    async def RejectRule(self, request: pb.RejectRuleRequest, context: Context) -> pb.RejectRuleResponse:
        order = check_order(request.operator_id, request.reason)
        return await governance.reject_rule(self._postgres, self._clock, request, order)

    async def ProposeKillSwitch(
        self, request: pb.ProposeKillSwitchRequest, context: Context
    ) -> pb.ProposeKillSwitchResponse:
        order = check_order(request.operator_id, request.reason)
        return await governance.propose_kill_switch(self._postgres, self._clock, request, order)

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> pb.GetRuleResponse:
        version = rules.check_version(request.rule_version)
        async with self._postgres.connection() as connection:
            rule = rules.check_known(await store.find(connection, version))
        return pb.GetRuleResponse(rule=governance.write_rule(rule))

    async def ListRules(self, request: pb.ListRulesRequest, context: Context) -> pb.ListRulesResponse:
        states = rules.check_states(request.states)
        size, below = rules.check_page(request.page_size, request.page_token, rules.MAX_RULES)
        async with self._postgres.connection() as connection:
            page = await store.page(connection, states, below, size + 1)
        token = str(page[size - 1].rule_version) if len(page) > size else ""
        return pb.ListRulesResponse(rules=[governance.write_rule(rule) for rule in page[:size]], next_page_token=token)

    async def GetActiveRule(self, request: pb.GetActiveRuleRequest, context: Context) -> pb.GetActiveRuleResponse:
        at = to_datetime(request.at, field="at") if request.HasField("at") else self._clock.now()
        async with self._postgres.connection() as connection:
            rule = rules.check_known(await store.active_at(connection, at))
        return pb.GetActiveRuleResponse(rule=governance.write_rule(rule))

    async def SimulateRule(self, request: pb.SimulateRuleRequest, context: Context) -> pb.SimulateRuleResponse:
        period = simulations.check_period(
            to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else None,
            to_datetime(request.to_time, field="to_time") if request.HasField("to_time") else None,
        )
        losers = simulations.check_losers(request.losers)
        async with self._postgres.transaction(readonly=True) as connection:
            if request.WhichOneof("candidate") == "rule_version":
                version = rules.check_version(request.rule_version)
                rates = rules.check_known(await store.find(connection, version)).rates
            elif request.HasField("rates"):
                rates = _read_rates(request)
            else:
                raise simulations.CandidateMissing(field="candidate")
            found = await whatif.replay(connection, Question(*period, rates, losers))
        if found is None:
            raise simulations.SimulationTooLong
        return pb.SimulateRuleResponse(
            charges=found.charges,
            revenue_micro=found.revenue_micro,
            referrers=_write_party(found.referrers),
            commons=_write_party(found.commons),
            communities=_write_party(found.communities),
            foundation=_write_party(found.foundation),
            losers=[pb.SimulatedCreator(account_ref=ref, shares=_write_party(shares)) for ref, shares in found.losers],
        )

    async def ListRuleAudit(self, request: pb.ListRuleAuditRequest, context: Context) -> pb.ListRuleAuditResponse:
        version = rules.check_version(request.rule_version) if request.rule_version else None
        size, below = rules.check_page(request.page_size, request.page_token, rules.MAX_PAGE)
        async with self._postgres.connection() as connection:
            page = await store.acts(connection, version, below, size + 1)
        token = str(page[size - 1].sequence) if len(page) > size else ""
        return pb.ListRuleAuditResponse(rows=[_write_act(act) for act in page[:size]], next_page_token=token)

    async def ListTierSuspensions(
        self, request: pb.ListTierSuspensionsRequest, context: Context
    ) -> pb.ListTierSuspensionsResponse:
        tier = tiers.check_tier(request.model_tier)
        size, below = rules.check_page(request.page_size, request.page_token, rules.MAX_PAGE)
        async with self._postgres.connection() as connection:
            page = await margins.page(connection, tier, open_only=request.open_only, below=below, limit=size + 1)
        token = str(page[size - 1].suspension_id) if len(page) > size else ""
        suspensions = [_write_suspension(each) for each in page[:size]]
        return pb.ListTierSuspensionsResponse(suspensions=suspensions, next_page_token=token)


def _read_rates(request: pb.ProposeRuleRequest | pb.UpdateRuleRequest | pb.SimulateRuleRequest) -> Rates:
    if not request.HasField("rates"):
        raise rules.RuleRatesMissing(field="rates")
    rates = request.rates
    return Rates(rates.referrer_bps, rates.commons_bps, rates.community_bps, rates.foundation_bps)


def _write_party(shares: Shares) -> pb.SimulatedParty:
    actual, simulated = shares
    return pb.SimulatedParty(actual_micro=actual, simulated_micro=simulated, difference_micro=simulated - actual)


def _write_act(act: Act) -> pb.RuleAuditRow:
    return pb.RuleAuditRow(
        sequence=act.sequence,
        rule_version=act.rule_version,
        from_state=events_pb2.RuleState.ValueType(act.from_state or 0),
        to_state=events_pb2.RuleState.ValueType(act.to_state),
        rates=governance.write_rates(act.rates),
        operator_id=act.operator_id,
        reason=act.reason,
        acted_at=to_timestamp(act.acted_at),
    )


def _write_suspension(suspension: Suspension) -> pb.TierSuspension:
    return pb.TierSuspension(
        model_tier=suspension.model_tier,
        from_time=to_timestamp(suspension.from_time),
        to_time=to_timestamp(suspension.to_time) if suspension.to_time else None,
        margin_bps=suspension.margin_bps,
    )
