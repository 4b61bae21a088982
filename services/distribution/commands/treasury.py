"""Reserve changes by two operators, and the switch that stops payouts."""

from dataclasses import replace
from fractions import Fraction

from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2 as pb
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.model import OPERATING, PAYOUT_RESERVE
from services.distribution.model.campaigns import Order
from services.distribution.model.treasury import PayoutsSwitch, ReserveChange, ReserveChangeState, ReserveDirection
from services.distribution.rules import treasury as rules
from services.distribution.store import treasury as store

AUDITOR = "job:auditor"


@retried
async def request_reserve_change(
    postgres: Postgres, clock: Clock, request: pb.RequestReserveChangeRequest, order: Order
) -> pb.RequestReserveChangeResponse:
    """Asks for reserve money to be moved; nothing moves yet."""
    direction, amount_micro = rules.check_direction(request.direction), rules.check_amount(request.amount_micro)
    once = Once(request.request_id, request, pb.RequestReserveChangeResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        change = ReserveChange(
            reserve_change_id=str(new_id()),
            direction=direction,
            amount_micro=amount_micro,
            state=ReserveChangeState.REQUESTED,
            requested_by=order.operator_id,
            decided_by=None,
            reason=order.reason,
            decision_reason=None,
            transfer_id=None,
            requested_at=clock.now(),
            decided_at=None,
        )
        await store.insert_change(connection, change)
        return await once.remember(connection, pb.RequestReserveChangeResponse(reserve_change=write_change(change)))


@retried
async def approve_reserve_change(
    postgres: Postgres, clock: Clock, request: pb.ApproveReserveChangeRequest, order: Order
) -> pb.ApproveReserveChangeResponse:
    """Moves it. Raises ReserveChangeUnknown, ReserveChangeDecided, ReserveChangeNeedsSecond, ReserveWouldNotCover."""
    once = Once(request.request_id, request, pb.ApproveReserveChangeResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        change = await _lock_undecided(connection, request.reserve_change_id)
        rules.check_second(change, order.operator_id)
        # Whatever changes what is owed changes the reserve too: from here on neither moves.
        await posting.lock(connection, [OPERATING, PAYOUT_RESERVE])
        if change.direction is ReserveDirection.WITHDRAWAL:
            rules.check_withdrawal(await store.coverage(connection), change.amount_micro)
        now = clock.now()
        kind, legs = rules.transfer(change)
        decided = await store.decide_change(
            connection,
            change.reserve_change_id,
            ReserveChangeState.APPROVED,
            decided_by=order.operator_id,
            reason=order.reason,
            transfer_id=await posting.post(connection, kind, change.reserve_change_id, legs, now=now),
            now=now,
        )
        return await once.remember(connection, pb.ApproveReserveChangeResponse(reserve_change=write_change(decided)))


@retried
async def reject_reserve_change(
    postgres: Postgres, clock: Clock, request: pb.RejectReserveChangeRequest, order: Order
) -> pb.RejectReserveChangeResponse:
    """Drops it; who asked may do so too. Raises ReserveChangeUnknown, ReserveChangeDecided."""
    once = Once(request.request_id, request, pb.RejectReserveChangeResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        change = await _lock_undecided(connection, request.reserve_change_id)
        decided = await store.decide_change(
            connection,
            change.reserve_change_id,
            ReserveChangeState.REJECTED,
            decided_by=order.operator_id,
            reason=order.reason,
            transfer_id=None,
            now=clock.now(),
        )
        return await once.remember(connection, pb.RejectReserveChangeResponse(reserve_change=write_change(decided)))


async def _lock_undecided(connection: Connection, reserve_change_id: str) -> ReserveChange:
    change = await store.lock_change(connection, rules.check_id(reserve_change_id))
    if change is None:
        raise rules.ReserveChangeUnknown
    rules.check_undecided(change)
    return change


@retried
async def pause_payouts(
    postgres: Postgres, clock: Clock, request: pb.PausePayoutsRequest, order: Order
) -> pb.PausePayoutsResponse:
    """Stops holds and burns: when it answers, none is under way any more."""
    once = Once(request.request_id, request, pb.PausePayoutsResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        before = await store.lock_switch(connection)
        switch = PayoutsSwitch(True, order.operator_id, order.reason, clock.now(), before.reserve_wrong)
        await store.set_switch(connection, switch)
        return await once.remember(connection, pb.PausePayoutsResponse(payouts=write_switch(switch)))


@retried
async def resume_payouts(
    postgres: Postgres, clock: Clock, request: pb.ResumePayoutsRequest, order: Order
) -> pb.ResumePayoutsResponse:
    """Ends the pause. Raises ReserveWrong where the last audit, or the balances now, say that the reserve is."""
    once = Once(request.request_id, request, pb.ResumePayoutsResponse)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        rules.check_resumable(await store.lock_switch(connection), await store.coverage(connection))
        switch = PayoutsSwitch(False, order.operator_id, order.reason, clock.now(), reserve_wrong=False)
        await store.set_switch(connection, switch)
        return await once.remember(connection, pb.ResumePayoutsResponse(payouts=write_switch(switch)))


@retried
async def record_reserve_audit(postgres: Postgres, clock: Clock, *, wrong: bool, reason: str = "") -> None:
    """What an audit says of the reserve. A wrong one pauses payouts; a right one lets an operator resume them."""
    async with postgres.transaction() as connection:
        before = await store.lock_switch(connection)
        if wrong and not before.paused:
            await store.set_switch(connection, PayoutsSwitch(True, AUDITOR, reason, clock.now(), reserve_wrong=True))
        elif wrong is not before.reserve_wrong:
            await store.set_switch(connection, replace(before, reserve_wrong=wrong))


async def measure_coverage(postgres: Postgres) -> None:
    """Publishes how well the reserve covers what creators may ask for."""
    async with postgres.connection() as connection:
        found = await store.coverage(connection)
    metrics.RESERVE.set(found.reserve_micro)
    metrics.OWED_SETTLED.set(found.settled_micro)
    metrics.OWED_HELD.set(found.held_micro)
    metrics.IN_FLIGHT.set(found.in_flight_micro)
    # Nothing owed is covered.
    ratio = Fraction(found.reserve_micro, found.owed_micro) if found.owed_micro else 1
    metrics.COVERAGE.set(float(ratio))


def write_change(change: ReserveChange) -> pb.ReserveChange:
    """Pack a request to move reserve money."""
    return pb.ReserveChange(
        reserve_change_id=change.reserve_change_id,
        direction=pb.ReserveDirection.ValueType(change.direction),
        amount_micro=change.amount_micro,
        state=pb.ReserveChangeState.ValueType(change.state),
        requested_by=change.requested_by,
        decided_by=change.decided_by or "",
        reason=change.reason,
        decision_reason=change.decision_reason or "",
        transfer_id=change.transfer_id or "",
        requested_at=to_timestamp(change.requested_at),
        decided_at=to_timestamp(change.decided_at) if change.decided_at else None,
    )


def write_switch(switch: PayoutsSwitch) -> pb.PayoutsSwitch:
    """Pack the payouts switch."""
    return pb.PayoutsSwitch(
        paused=switch.paused,
        operator_id=switch.operator_id,
        reason=switch.reason,
        changed_at=to_timestamp(switch.changed_at) if switch.changed_at else None,
    )
