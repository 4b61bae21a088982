"""Lots of credits, and what was burned of them for charges."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.distribution.model.campaigns import Burn, Lot, Slice

_LOT = "lot_id::text, pool, grant_id, granted_micro, remaining_micro, granted_at"


async def lock_charge(connection: Connection, charge_id: str) -> None:
    """Shut out whoever finalizes this charge, burns for it or puts back: until then, or until we are done."""
    await connection.execute("SELECT pg_advisory_xact_lock(charge_lock($1))", charge_id)


async def is_finalized(connection: Connection, charge_id: str) -> bool:
    """Whether a charge is in the journal."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM distributions WHERE inference_charge_id = $1)", charge_id
    )
    return found


async def find_burn(connection: Connection, charge_id: str) -> Burn | None:
    """What was burned for a charge."""
    row = await connection.fetchrow(
        """
        SELECT account_ref::text, up_to_micro, spent_micro, lot_ids::text[], amounts_micro, returned_at FROM burns
        WHERE inference_charge_id = $1
        """,
        charge_id,
    )
    if row is None:
        return None
    account_ref, up_to_micro, spent_micro, lot_ids, amounts_micro, returned_at = row
    lots = await connection.fetch("SELECT lot_id::text, pool FROM credit_lots WHERE lot_id = ANY ($1::uuid[])", lot_ids)
    pools: dict[str, str] = {lot["lot_id"]: lot["pool"] for lot in lots}
    slices = [
        Slice(lot_id, pools[lot_id], amount_micro) for lot_id, amount_micro in zip(lot_ids, amounts_micro, strict=True)
    ]
    return Burn(charge_id, account_ref, up_to_micro, spent_micro, slices, returned_at is not None)


async def lock_unspent(connection: Connection, account_ref: str, up_to_micro: int) -> list[Lot]:
    """Lots with something left, oldest first and locked: as many as it takes to have so much, or all there are.

    They are read in steps, so that an account with many lots does not lock them all for a small charge.
    """
    lots: list[Lot] = []
    found_micro = 0
    for limit in (4, 64, 1024):
        lots = await _lock_oldest(connection, account_ref, limit)
        found_micro = sum(lot.remaining_micro for lot in lots)
        if found_micro >= up_to_micro or len(lots) < limit:
            return lots
    return await _lock_oldest(connection, account_ref, None)


async def _lock_oldest(connection: Connection, account_ref: str, limit: int | None) -> list[Lot]:
    rows = await connection.fetch(
        f"""
        SELECT {_LOT} FROM credit_lots WHERE account_ref = $1 AND remaining_micro > 0
        ORDER BY granted_at, credit_lots.lot_id LIMIT $2 FOR NO KEY UPDATE
        """,  # noqa: S608 - constant columns
        account_ref,
        limit,
    )
    return [Lot(*row) for row in rows]


async def lock_lots(connection: Connection, slices: Sequence[Slice]) -> None:
    """Lock lots in the order in which they are spent."""
    await connection.execute(
        """
        SELECT FROM credit_lots WHERE lot_id = ANY ($1::uuid[]) ORDER BY granted_at, lot_id FOR NO KEY UPDATE
        """,
        [each.lot_id for each in slices],
    )


async def change_lots(connection: Connection, slices: Sequence[Slice], sign: int) -> None:
    """Take slices from their lots (-1), or put them back (+1)."""
    await connection.execute(
        """
        UPDATE credit_lots SET remaining_micro = remaining_micro + part.amount_micro
        FROM unnest($1::uuid[], $2::bigint[]) AS part (lot_id, amount_micro) WHERE credit_lots.lot_id = part.lot_id
        """,
        [each.lot_id for each in slices],
        [sign * each.amount_micro for each in slices],
    )


async def insert_burn(connection: Connection, burn: Burn, transfer_id: UUID | None, now: datetime) -> None:
    """Write down what was burned for a charge."""
    await connection.execute(
        """
        INSERT INTO burns (
            inference_charge_id, account_ref, up_to_micro, spent_micro, lot_ids, amounts_micro, transfer_id, burned_at
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        burn.inference_charge_id,
        burn.account_ref,
        burn.up_to_micro,
        burn.spent_micro,
        [each.lot_id for each in burn.slices],
        [each.amount_micro for each in burn.slices],
        transfer_id,
        now,
    )


async def mark_returned(connection: Connection, charge_id: str, transfer_id: UUID | None, now: datetime) -> None:
    """Write down that it was put back."""
    await connection.execute(
        """
        UPDATE burns SET returned_at = $2, return_transfer_id = $3
        WHERE inference_charge_id = $1 AND returned_at IS NULL
        """,
        charge_id,
        now,
        transfer_id,
    )


async def list_lots(
    connection: Connection, account_ref: str, pool: str | None, after: str | None, limit: int
) -> list[Lot]:
    """An account's lots, oldest first, spent ones too."""
    rows = await connection.fetch(
        f"""
        SELECT {_LOT} FROM credit_lots
        WHERE account_ref = $1 AND ($2::text IS NULL OR pool = $2) AND (
            $3::uuid IS NULL OR (granted_at, lot_id) > (
                SELECT last.granted_at, last.lot_id FROM credit_lots AS last WHERE last.lot_id = $3
            )
        )
        ORDER BY granted_at, credit_lots.lot_id LIMIT $4
        """,  # noqa: S608 - constant columns
        account_ref,
        pool,
        after,
        limit,
    )
    return [Lot(*row) for row in rows]
