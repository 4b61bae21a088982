"""What a creator's standing does to its earnings: a freeze, its end, forfeiture."""

from datetime import datetime

from libs import idempotency, outbox
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, treasury_pb2
from services.distribution.commands import posting
from services.distribution.model import OPERATING, PAYOUT_RESERVE, creator_account
from services.distribution.model.earnings import CreatorState, EarningsChange
from services.distribution.model.ledger import FORFEITED, TransferKind
from services.distribution.store import earnings


@retried
async def set_frozen(
    postgres: Postgres, clock: Clock, creator_ref: str, *, frozen: bool, standing_revision: int
) -> CreatorState:
    """Freezes a creator's earnings or ends the freeze, as its newest standing says; an older one changes nothing."""
    async with postgres.transaction() as connection:
        state = (await earnings.lock_states(connection, [creator_ref]))[creator_ref]
        if standing_revision <= state.standing_revision:
            return state
        now = clock.now()
        await earnings.set_frozen(connection, creator_ref, frozen=frozen, standing_revision=standing_revision, now=now)
        if frozen is not state.frozen:
            change = EarningsChange.FROZEN if frozen else EarningsChange.UNFROZEN
            await tell(connection, creator_ref, change, 0, "", str(standing_revision), now)
        return await earnings.find_state(connection, creator_ref)


@retried
async def forfeit(
    postgres: Postgres, clock: Clock, request: treasury_pb2.ForfeitEarningsRequest
) -> treasury_pb2.ForfeitEarningsResponse:
    """Takes everything unpaid that is not held for a payout; its backing goes back to operating cash."""
    creator_ref = request.account_ref
    async with postgres.transaction() as connection:
        earlier = await idempotency.replay(
            connection,
            request_id=request.request_id,
            method="ForfeitEarnings",
            request=request,
            response_type=treasury_pb2.ForfeitEarningsResponse,
        )
        if earlier is not None:
            return earlier
        await earnings.lock_states(connection, [creator_ref])
        response = await _forfeit(connection, creator_ref, request.request_id, clock.now())
        await idempotency.remember(
            connection, request_id=request.request_id, method="ForfeitEarnings", request=request, response=response
        )
        return response


async def _forfeit(
    connection: Connection, creator_ref: str, cause_id: str, now: datetime
) -> treasury_pb2.ForfeitEarningsResponse:
    pending, settled = creator_account(creator_ref, "pending"), creator_account(creator_ref, "settled")
    # Under these locks no charge can add to the balance, so the open rows are what the balance is.
    balances = await posting.lock(connection, [pending, settled])
    total_micro = balances[pending] + balances[settled]
    if not total_micro:
        return treasury_pb2.ForfeitEarningsResponse()
    transfer_id = await posting.post(
        connection,
        TransferKind.FORFEIT,
        cause_id,
        {
            pending: -balances[pending],
            settled: -balances[settled],
            FORFEITED: total_micro,
            PAYOUT_RESERVE: -total_micro,
            OPERATING: total_micro,
        },
        now=now,
    )
    await earnings.forfeit_open(connection, creator_ref, transfer_id, now)
    await earnings.add_totals(connection, creator_ref, reversed_micro=total_micro)
    await tell(connection, creator_ref, EarningsChange.FORFEITED, total_micro, str(transfer_id), cause_id, now)
    return treasury_pb2.ForfeitEarningsResponse(
        pending_micro=balances[pending], settled_micro=balances[settled], transfer_id=str(transfer_id)
    )


async def tell(
    connection: Connection,
    creator_ref: str,
    change: EarningsChange,
    amount_micro: int,
    transfer_id: str,
    cause_id: str,
    now: datetime,
) -> None:
    """Appends one change of a creator's earnings."""
    event = events_pb2.EarningsChanged(
        creator_ref=creator_ref,
        change=events_pb2.EarningsChange.ValueType(change),
        amount_micro=amount_micro,
        transfer_id=transfer_id,
        cause_id=cause_id,
        changed_at=to_timestamp(now),
    )
    await outbox.append(connection, event, key=creator_ref, occurred_at=now)
