"""Credits burned for charges that billing is about to finalize, and put back for those that it gave up."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from services.distribution import metrics
from services.distribution.commands import posting
from services.distribution.model.campaigns import Burn
from services.distribution.model.ledger import PROMOTIONAL_SPEND, TransferKind, credits_account
from services.distribution.rules import credits as rules
from services.distribution.store import credits as store


class Burned(NamedTuple):
    """What was burned for a charge, and whether an earlier call did it."""

    burn: Burn
    replayed: bool


async def spend(postgres: Postgres, clock: Clock, charge_id: str, account_ref: str, up_to_micro: int) -> Burned:
    """Burn what the account has, the oldest first, up to an amount; once per charge.

    Raises ChargeFinalized, BurnMismatch, BurnReturned.
    """
    burned = await _spend(postgres, clock, charge_id, account_ref, up_to_micro)
    if not burned.replayed:
        metrics.BURNED.inc(burned.burn.spent_micro)
    return burned


@retried
async def _spend(postgres: Postgres, clock: Clock, charge_id: str, account_ref: str, up_to_micro: int) -> Burned:
    async with postgres.transaction() as connection:
        await store.lock_charge(connection, charge_id)
        if earlier := await store.find_burn(connection, charge_id):
            rules.check_same_burn(earlier, account_ref, up_to_micro)
            return Burned(earlier, replayed=True)
        if await store.is_finalized(connection, charge_id):
            raise rules.ChargeFinalized
        slices = rules.take(await store.lock_unspent(connection, account_ref, up_to_micro), up_to_micro)
        spent_micro = sum(part.amount_micro for part in slices)
        now = clock.now()
        burn = Burn(charge_id, account_ref, up_to_micro, spent_micro, slices, returned=False)
        transfer_id = new_id() if slices else None
        await store.insert_burn(connection, burn, transfer_id, now)
        await _move(connection, burn, -1, transfer_id, now)
        return Burned(burn, replayed=False)


@retried
async def put_back(postgres: Postgres, clock: Clock, charge_id: str) -> Burned:
    """Put what was burned for a charge back into its lots. Raises BurnUnknown, ChargeFinalized."""
    async with postgres.transaction() as connection:
        await store.lock_charge(connection, charge_id)
        burn = await store.find_burn(connection, charge_id)
        if burn is None:
            raise rules.BurnUnknown
        if burn.returned:
            return Burned(burn, replayed=True)
        if await store.is_finalized(connection, charge_id):
            raise rules.ChargeFinalized
        await store.lock_lots(connection, burn.slices)
        now = clock.now()
        transfer_id = new_id() if burn.slices else None
        await store.mark_returned(connection, charge_id, transfer_id, now)
        await _move(connection, burn, 1, transfer_id, now)
        return Burned(burn, replayed=False)


async def _move(connection: Connection, burn: Burn, sign: int, transfer_id: UUID | None, now: datetime) -> None:
    """Move what was burned out of its lots (-1) or back (+1), and its money with it.

    Comes last: everybody who burns credits adds to one account, and waits for it until the commit.
    """
    if transfer_id is None:
        return
    await store.change_lots(connection, burn.slices, sign)
    legs: Counter[str] = Counter()
    for part in burn.slices:
        legs[credits_account(burn.account_ref, part.pool)] += sign * part.amount_micro
        legs[PROMOTIONAL_SPEND] -= sign * part.amount_micro
    moved = posting.Posting(TransferKind.SPEND, burn.inference_charge_id, legs, transfer_id)
    await posting.post_many(connection, [moved], now=now)
