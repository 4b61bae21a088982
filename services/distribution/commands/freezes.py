"""What a creator's standing does to its earnings: a freeze, its end, forfeiture."""

from datetime import datetime

from libs import idempotency, outbox
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, treasury_pb2
from services.distribution.commands import posting
from services.distribution.model import creator_account
from services.distribution.model.campaigns import Order
from services.distribution.model.earnings import CreatorState, EarningsChange, Forfeiture
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import earnings as rules
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
    postgres: Postgres, clock: Clock, request: treasury_pb2.ForfeitEarningsRequest, order: Order
) -> treasury_pb2.ForfeitEarningsResponse:
    """Takes everything unpaid; its backing goes back to operating cash. What is held follows if it comes back.

    Once per request id, for ever: what a creator earns afterwards is not taken by a repeat.
    """
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
        state = (await earnings.lock_states(connection, [creator_ref]))[creator_ref]
        now = clock.now()
        response = await _forfeit(connection, creator_ref, request.request_id, now)
        # Counted even where there was nothing to take: what is held now has to come back to nobody.
        forfeiture = Forfeiture(creator_ref, state.forfeitures + 1, request.request_id, order, response.transfer_id)
        await earnings.insert_forfeiture(connection, forfeiture, now)
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
        rules.forfeit_legs(creator_ref, pending_micro=balances[pending], settled_micro=balances[settled]),
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
    event = event_of(creator_ref, change, amount_micro, transfer_id, cause_id, now)
    await outbox.append(connection, event, key=creator_ref, occurred_at=now)


def event_of(
    creator_ref: str, change: EarningsChange, amount_micro: int, transfer_id: str, cause_id: str, now: datetime
) -> events_pb2.EarningsChanged:
    """What is told of one change of a creator's earnings."""
    return events_pb2.EarningsChanged(
        creator_ref=creator_ref,
        change=events_pb2.EarningsChange.ValueType(change),
        amount_micro=amount_micro,
        transfer_id=transfer_id,
        cause_id=cause_id,
        changed_at=to_timestamp(now),
    )
