"""Versions of the risk weights: proposed into the shadow, activated by somebody else."""

from datetime import datetime

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import audit
from services.referral.model.risk import Signal, Weight, Weights, WeightsState
from services.referral.rules import risk as rules
from services.referral.store import weights as store

_STATES = {
    WeightsState.SHADOW: pb.RISK_WEIGHTS_STATE_SHADOW,
    WeightsState.ACTIVE: pb.RISK_WEIGHTS_STATE_ACTIVE,
    WeightsState.RETIRED: pb.RISK_WEIGHTS_STATE_RETIRED,
}


@retried
async def propose(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.ProposeRiskWeightsRequest
) -> pb.ProposeRiskWeightsResponse:
    """Writes a version that runs in shadow; the oldest of more than five shadows ends."""
    given = rules.check_weights(
        (each.signal, Weight(each.cap, each.divisor, each.factor_bps)) for each in request.weights
    )
    rules.check_thresholds(request.flagged_from, request.urgent_from)
    once = Once(request.request_id, request, pb.ProposeRiskWeightsResponse, key)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        await store.take_turn(connection)
        now = clock.now()
        made = Weights(
            await store.next_version(connection),
            WeightsState.SHADOW,
            given,
            request.flagged_from,
            request.urgent_from,
            request.operator_id,
            request.reason,
            now,
        )
        await store.insert(connection, made)
        for version in await store.retire_oldest_shadows(connection, rules.SHADOWS_MAX):
            await _record(connection, "RISK_WEIGHTS_DISPLACED", version, request.operator_id, request.reason, now)
        await _record(connection, "RISK_WEIGHTS_PROPOSED", made.version, request.operator_id, request.reason, now)
        return await once.remember(connection, pb.ProposeRiskWeightsResponse(risk_weights=write_weights(made)))


@retried
async def activate(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.ActivateRiskWeightsRequest
) -> pb.ActivateRiskWeightsResponse:
    """Puts a shadow version in the active one's place.

    Raises RiskWeightsUnknown, RiskWeightsNotShadow, RiskWeightsNeedSecond.
    """
    once = Once(request.request_id, request, pb.ActivateRiskWeightsResponse, key)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        await store.take_turn(connection)
        found = await store.find(connection, request.weights_version)
        if found is None:
            raise rules.RiskWeightsUnknown
        rules.check_activation(found, request.operator_id)
        now = clock.now()
        await store.activate(connection, found.version, request.operator_id, now)
        await _record(connection, "RISK_WEIGHTS_ACTIVATED", found.version, request.operator_id, request.reason, now)
        active = await store.find(connection, found.version)
        if active is None:
            raise rules.RiskWeightsUnknown
        return await once.remember(connection, pb.ActivateRiskWeightsResponse(risk_weights=write_weights(active)))


def write_weights(found: Weights) -> pb.RiskWeights:
    """Pack a version."""
    return pb.RiskWeights(
        weights_version=found.version,
        state=_STATES[found.state],
        weights=[
            pb.RiskWeight(signal=signal, cap=each.cap, divisor=each.divisor, factor_bps=each.factor_bps)
            for signal, each in zip(Signal, found.weights, strict=True)
        ],
        flagged_from=found.flagged_from,
        urgent_from=found.urgent_from,
        proposed_by=found.proposed_by,
        activated_by=found.activated_by,
        reason=found.reason,
        proposed_at=to_timestamp(found.proposed_at),
        activated_at=to_timestamp(found.activated_at) if found.activated_at else None,
    )


async def _record(connection: Connection, act: str, version: int, operator_id: str, reason: str, now: datetime) -> None:
    await audit.record(
        connection, act=act, subject=f"risk weights {version}", operator_id=operator_id, reason=reason, now=now
    )
