"""The money side of payouts: held, returned, burned, completed, failed."""

from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.commands.freezes import event_of
from services.distribution.model.earnings import EarningsChange
from services.distribution.model.holds import Answered, Hold, HoldState, Move, Wanted
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import earnings as earnings_rules
from services.distribution.rules import holds as rules
from services.distribution.rules import treasury as treasury_rules
from services.distribution.store import earnings, treasury
from services.distribution.store import holds as store


@retried
async def hold_payout(postgres: Postgres, clock: Clock, wanted: Wanted, *, enabled: bool) -> Answered:
    """Sets money aside for one round of a payout. Raises what keeps it from it; nothing is written then."""
    async with postgres.transaction() as connection:
        kept = await store.lock_withdrawable(connection, wanted.payout_id, wanted.creator_ref, clock.now())
        rounds = await store.lock(connection, wanted.payout_id) if kept.rounds else []
        if earlier := rules.earlier(rounds, wanted):
            return Answered(earlier, replayed=True)
        rules.check_next_round(rounds, wanted)
        rules.check_open(enabled=enabled, paused=kept.paused)
        rules.check_not_frozen(kept.creator)
        rules.check_withdrawable(
            wanted.amount_micro, settled_micro=kept.settled_micro, maturing_micro=kept.maturing_micro
        )
        # Not before the locks were waited for: what was posted meanwhile came first.
        move, now = Move(HoldState.HELD), clock.now()
        transfer_id = await posting.post(
            connection,
            rules.kind(move.to),
            wanted.payout_id,
            rules.legs(wanted.creator_ref, wanted.amount_micro, move),
            now=now,
        )
        hold = Hold(*wanted, HoldState.HELD, 0, 0, now, now, kept.creator.forfeitures)
        await store.insert(connection, hold, transfer_id, _events_of(hold, move, transfer_id, now))
    metrics.HOLDS.labels(HoldState.HELD.name).inc()
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
            rules.check_not_frozen(state)
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
