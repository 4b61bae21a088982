"""The money side of payouts: held, returned, burned, completed, failed."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from libs.clock import Clock
from libs.postgres import CONFLICTS, Connection, Postgres, retried
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.commands.freezes import event_of
from services.distribution.model.earnings import EarningsChange
from services.distribution.model.holds import Answered, Hold, HoldState, Move, Wanted, Withdrawable
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import earnings as earnings_rules
from services.distribution.rules import holds as rules
from services.distribution.rules import treasury as treasury_rules
from services.distribution.store import earnings, treasury
from services.distribution.store import holds as store


async def hold_payout(postgres: Postgres, clock: Clock, wanted: Wanted, *, enabled: bool) -> Answered:
    """Sets money aside for one round of a payout. Raises what keeps it from it; nothing is written then.

    Nearly always one look and one statement do, which insists under the locks that all that decides is as it was seen.
    """
    try:
        async with postgres.connection() as connection:
            as_of = clock.now()
            seen = await store.look(connection, wanted.payout_id, wanted.creator_ref, as_of)
            held = None if seen.rounds else await _hold(connection, clock, wanted, seen, as_of, [], enabled=enabled)
    except CONFLICTS:
        held = None
    if held is None:
        held = await _hold_alone(postgres, clock, wanted, enabled=enabled)
    if not held.replayed:
        metrics.HOLDS.labels(HoldState.HELD.name).inc()
    return held


@retried
async def _hold_alone(postgres: Postgres, clock: Clock, wanted: Wanted, *, enabled: bool) -> Answered:
    async with postgres.transaction() as connection:
        as_of = clock.now()
        kept = await store.lock_withdrawable(connection, wanted.payout_id, wanted.creator_ref, as_of)
        rounds = await store.lock(connection, wanted.payout_id) if kept.rounds else []
        if earlier := rules.earlier(rounds, wanted):
            return Answered(earlier, replayed=True)
        held = await _hold(connection, clock, wanted, kept, as_of, rounds, enabled=enabled)
        if held is None:
            # What matures is not locked: a moment later less of it may.
            raise asyncpg.SerializationError("what decides has changed meanwhile")
        return held


async def _hold(
    connection: Connection,
    clock: Clock,
    wanted: Wanted,
    seen: Withdrawable,
    as_of: datetime,
    rounds: Sequence[Hold],
    *,
    enabled: bool,
) -> Answered | None:
    """Decides by what was seen, and holds; None where that has changed since, and nothing is written."""
    rules.check_next_round(rounds, wanted)
    rules.check_open(enabled=enabled, paused=seen.paused)
    rules.check_not_frozen(frozen=seen.frozen)
    rules.check_withdrawable(wanted.amount_micro, settled_micro=seen.settled_micro, maturing_micro=seen.maturing_micro)
    move, now = Move(HoldState.HELD), clock.now()
    legs = rules.legs(wanted.creator_ref, wanted.amount_micro, move)
    prepared = posting.prepare([posting.Posting(rules.kind(move.to), wanted.payout_id, legs)], now=now)
    hold = Hold(*wanted, move.to, 0, 0, now, now, seen.forfeitures)
    events = _events_of(hold, move, prepared.transfer_ids[0], now)
    if not await store.insert(connection, hold, seen, as_of, prepared, events):
        return None
    return Answered(hold, replayed=False)


@retried
async def move_hold(
    postgres: Postgres, clock: Clock, payout_id: str, number: int, move: Move, *, enabled: bool = True
) -> Answered:
    """Moves one round of a payout on, with its money, in one transaction. Only a burn asks whether it may now."""
    async with postgres.transaction() as connection:
        hold = rules.find(await store.lock(connection, payout_id), number)
        if rules.is_done(hold, move):
            return Answered(hold, replayed=True)
        burns = move.to is HoldState.BURNED
        if burns:
            rules.check_open(enabled=enabled, paused=(await treasury.keep_switch(connection)).paused)
        state = (await earnings.lock_states(connection, [hold.creator_ref]))[hold.creator_ref]
        if burns:
            rules.check_not_frozen(frozen=state.frozen)
            # A burn takes the same from what is owed as from the reserve, so it cannot make the reserve short: this
            # finds one that is short already.
            treasury_rules.check_covered(*await treasury.reserve_and_owed(connection))
        if rules.is_forfeited(hold, state, move.to):
            moved = await _move_to_nobody(connection, hold, move, clock.now())
        else:
            moved = await _move(connection, hold, move, clock.now())
    metrics.HOLDS.labels(move.to.name).inc()
    return Answered(moved, replayed=False)


async def _move(connection: Connection, hold: Hold, move: Move, now: datetime) -> Hold:
    transfer_id = await posting.post(
        connection,
        rules.kind(move.to),
        hold.payout_id,
        rules.legs(hold.creator_ref, hold.amount_micro, move),
        now=now,
    )
    events = _events_of(hold, move, transfer_id, now)
    moved = await store.move(connection, hold, move, transfer_id, now, events)
    if paid_out_micro := rules.paid_out_micro(hold.amount_micro, move.to):
        await earnings.add_totals(connection, hold.creator_ref, paid_out_micro=paid_out_micro)
    return moved


async def _move_to_nobody(connection: Connection, hold: Hold, move: Move, now: datetime) -> Hold:
    """Money that its creator forfeited while it was held comes back, and goes on at once.

    Both transfers are posted together: their accounts are locked in one order.
    """
    creator_ref, amount_micro = hold.creator_ref, hold.amount_micro
    transfer_id, forfeit_transfer_id = await posting.post_many(
        connection,
        [
            posting.Posting(rules.kind(move.to), hold.payout_id, rules.legs(creator_ref, amount_micro, move)),
            posting.Posting(
                TransferKind.FORFEIT,
                hold.payout_id,
                earnings_rules.forfeit_legs(creator_ref, pending_micro=0, settled_micro=amount_micro),
            ),
        ],
        now=now,
    )
    events = _events_of(hold, move, transfer_id, now)
    forfeited_id, forfeited = str(forfeit_transfer_id), EarningsChange.FORFEITED
    events.append(event_of(creator_ref, forfeited, amount_micro, forfeited_id, hold.payout_id, now))
    moved = await store.move(connection, hold, move, transfer_id, now, events, forfeit_transfer_id=forfeit_transfer_id)
    await earnings.add_totals(
        connection,
        creator_ref,
        paid_out_micro=rules.paid_out_micro(amount_micro, move.to),
        reversed_micro=amount_micro,
    )
    return moved


def _events_of(hold: Hold, move: Move, transfer_id: UUID, now: datetime) -> list[Message]:
    """What is told of a hold that comes into a state; of some nothing is."""
    change = rules.CHANGES.get(move.to)
    if change is None:
        return []
    return [event_of(hold.creator_ref, change, hold.amount_micro, str(transfer_id), hold.payout_id, now)]
