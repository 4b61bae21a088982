"""Rules from draft to force, by two operators; every step leaves a row and an event."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs import outbox
from libs.clock import Clock
from libs.idempotency import Once
from libs.money import Rates
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2
from protos.distribution.v1 import rules_pb2 as pb
from services.distribution import metrics
from services.distribution.model.campaigns import Order
from services.distribution.model.governance import Proposal, RuleState
from services.distribution.rules import governance as rules
from services.distribution.store import governance as store
from services.distribution.store import margins

JOB: Final = "job:activate"
_KEY: Final = "rules"
_ACTIVATIONS_MAX: Final = 100


@retried
async def propose_rule(
    postgres: Postgres, clock: Clock, request: pb.ProposeRuleRequest, order: Order, rates: Rates, cooling: timedelta
) -> pb.ProposeRuleResponse:
    """Writes a draft."""
    once = Once(request.request_id, request, pb.ProposeRuleResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        await store.lock(connection)
        rule = await _draft(connection, rates, cooling, order, clock.now())
        return await once.remember(connection, pb.ProposeRuleResponse(rule=write_rule(rule)))


@retried
async def update_rule(
    postgres: Postgres, clock: Clock, request: pb.UpdateRuleRequest, order: Order, rates: Rates, cooling: timedelta
) -> pb.UpdateRuleResponse:
    """Changes a draft. Raises RuleUnknown, RuleStateWrong, RuleNotYours."""
    once = Once(request.request_id, request, pb.UpdateRuleResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        before = await _lock(connection, request.rule_version)
        rules.check_draft_of(before, order.operator_id)
        rule = replace(before, rates=rates, cooling=cooling)
        await _move(connection, before, rule, order, clock.now())
        return await once.remember(connection, pb.UpdateRuleResponse(rule=write_rule(rule)))


@retried
async def submit_rule(
    postgres: Postgres, clock: Clock, request: pb.SubmitRuleRequest, order: Order
) -> pb.SubmitRuleResponse:
    """Asks for approval. Raises RuleUnknown, RuleStateWrong."""
    once = Once(request.request_id, request, pb.SubmitRuleResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        before = await _lock(connection, request.rule_version)
        rule = rules.moved(before, RuleState.PENDING_APPROVAL)
        await _move(connection, before, rule, order, clock.now())
        return await once.remember(connection, pb.SubmitRuleResponse(rule=write_rule(rule)))


@retried
async def approve_rule(
    postgres: Postgres, clock: Clock, request: pb.ApproveRuleRequest, order: Order
) -> pb.ApproveRuleResponse:
    """Lets a rule cool down, and puts a kill switch in force. Raises RuleUnknown, RuleStateWrong, RuleNeedsSecond."""
    once = Once(request.request_id, request, pb.ApproveRuleResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        before = await _lock(connection, request.rule_version)
        rule = rules.approved(before, order.operator_id, clock.now())
        if rule.kill_switch:
            rule = await _activate(connection, rule, order, clock.now)
        else:
            await _move(connection, before, rule, order, clock.now())
        return await once.remember(connection, pb.ApproveRuleResponse(rule=write_rule(rule)))


@retried
async def reject_rule(
    postgres: Postgres, clock: Clock, request: pb.RejectRuleRequest, order: Order
) -> pb.RejectRuleResponse:
    """Drops a rule before it is in force. Raises RuleUnknown, RuleStateWrong."""
    once = Once(request.request_id, request, pb.RejectRuleResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        before = await _lock(connection, request.rule_version)
        rule = replace(rules.moved(before, RuleState.REJECTED), decided_by=order.operator_id)
        await _move(connection, before, rule, order, clock.now())
        return await once.remember(connection, pb.RejectRuleResponse(rule=write_rule(rule)))


@retried
async def propose_kill_switch(
    postgres: Postgres, clock: Clock, request: pb.ProposeKillSwitchRequest, order: Order
) -> pb.ProposeKillSwitchResponse:
    """Proposes and submits the rule that ends accrual: it waits for a second operator, and for nothing else."""
    once = Once(request.request_id, request, pb.ProposeKillSwitchResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        await store.lock(connection)
        now = clock.now()
        rates = rules.kill_switch_rates((await store.active(connection)).rates)
        draft = await _draft(connection, rates, timedelta(), order, now, kill_switch=True)
        rule = rules.moved(draft, RuleState.PENDING_APPROVAL)
        await _move(connection, draft, rule, order, now)
        return await once.remember(connection, pb.ProposeKillSwitchResponse(rule=write_rule(rule)))


async def activate_cooled(postgres: Postgres, clock: Clock) -> int:
    """Puts in force what has cooled down, the longest first; returns how many rules. Any number may do so at once."""
    for activations in range(_ACTIVATIONS_MAX):
        if not await _activate_next(postgres, clock):
            return activations
    return _ACTIVATIONS_MAX


@retried
async def _activate_next(postgres: Postgres, clock: Clock) -> bool:
    async with postgres.transaction() as connection:
        await store.lock(connection)
        rule = await store.next_cooled(connection, clock.now())
        if rule is None:
            return False
        await _activate(connection, rule, Order(JOB, "It has cooled down."), clock.now)
        return True


async def _draft(
    connection: Connection, rates: Rates, cooling: timedelta, order: Order, now: datetime, *, kill_switch: bool = False
) -> Proposal:
    rule = Proposal(
        rule_version=await store.next_version(connection),
        state=RuleState.DRAFT,
        rates=rates,
        kill_switch=kill_switch,
        cooling=cooling,
        proposed_by=order.operator_id,
        decided_by=None,
        reason=order.reason,
        proposed_at=now,
    )
    await store.insert(connection, rule)
    await _tell(connection, rule, None, order, now)
    return rule


async def _lock(connection: Connection, rule_version: int) -> Proposal:
    await store.lock(connection)
    return rules.check_known(await store.find(connection, rules.check_version(rule_version)))


async def _activate(connection: Connection, rule: Proposal, order: Order, now: Callable[[], datetime]) -> Proposal:
    """Supersedes the rule in force, from an instant after every charge that was decided by it."""
    await store.hold_charges(connection)
    instant = now()
    former, active = await store.former(connection), await store.active(connection)
    active_from = rules.next_active_from(instant, await margins.last_finalized_at(connection, instant), former)
    after = rules.activated(rule, active, active_from)
    await _move(connection, active, rules.superseded(active, active_from), order, instant)
    await _move(connection, rule, after, order, instant)
    await store.put_in_force(connection, after, former.margin_floor_bps)
    if rule.kill_switch:
        await _call_off(connection, order, instant)
    return after


async def _call_off(connection: Connection, order: Order, now: datetime) -> None:
    """What was agreed before a kill switch must not end it unseen: it takes two operators and a week again."""
    for rule in await store.cooling_down(connection):
        rejected = replace(rules.moved(rule, RuleState.REJECTED), decided_by=order.operator_id)
        await _move(connection, rule, rejected, order, now)


async def _move(connection: Connection, before: Proposal, after: Proposal, order: Order, now: datetime) -> None:
    await store.update(connection, after)
    await _tell(connection, after, before.state, order, now)


async def _tell(connection: Connection, rule: Proposal, before: RuleState | None, order: Order, now: datetime) -> None:
    await store.write_act(connection, rule, before, order, now)
    event = events_pb2.RuleChanged(
        rule_version=rule.rule_version,
        state=events_pb2.RuleState.ValueType(rule.state),
        referrer_bps=rule.rates.referrer_bps,
        commons_bps=rule.rates.commons_bps,
        community_bps=rule.rates.community_bps,
        foundation_bps=rule.rates.foundation_bps,
        active_from=to_timestamp(rule.active_from) if rule.active_from else None,
        changed_at=to_timestamp(now),
    )
    await outbox.append(connection, event, key=_KEY, occurred_at=now)
    metrics.RULE_CHANGES.labels(rule.state.name).inc()


def write_rates(rates: Rates) -> pb.RuleRates:
    """Pack rates."""
    return pb.RuleRates(
        referrer_bps=rates.referrer_bps,
        commons_bps=rates.commons_bps,
        community_bps=rates.community_bps,
        foundation_bps=rates.foundation_bps,
    )


def write_rule(rule: Proposal) -> pb.RevenueRule:
    """Pack a rule."""
    return pb.RevenueRule(
        rule_version=rule.rule_version,
        state=events_pb2.RuleState.ValueType(rule.state),
        rates=write_rates(rule.rates),
        kill_switch=rule.kill_switch,
        proposed_by=rule.proposed_by,
        decided_by=rule.decided_by or "",
        reason=rule.reason,
        proposed_at=to_timestamp(rule.proposed_at),
        cools_down_until=to_timestamp(rule.cools_down_until) if rule.cools_down_until else None,
        active_from=to_timestamp(rule.active_from) if rule.active_from else None,
        active_to=to_timestamp(rule.active_to) if rule.active_to else None,
    )
