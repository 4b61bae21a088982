"""Balances as they were, and what moved them."""

from datetime import datetime
from typing import NamedTuple

from libs.postgres import Connection
from services.distribution.model.ledger import TransferKind
from services.distribution.model.statements import Account, Movement
from services.distribution.rules.statements import END, HOUR, hour_of
from services.distribution.store.entries import ANYBODY, LEGS, OWNERS


class Charged(NamedTuple):
    """Sum and number of the legs that charges have on one account."""

    amount_micro: int
    charges: int

    def __sub__(self, other: "Charged") -> "Charged":
        return Charged(self.amount_micro - other.amount_micro, self.charges - other.charges)


async def balance_at(connection: Connection, account: Account, at: datetime) -> int:
    """The balance by the entries recorded before an instant; within one snapshot."""
    if account.is_personal:
        return account.balance_micro - await _moved(connection, account, at, END)
    base = await _summed_before(connection, at)
    balance_micro: int | None = await connection.fetchval(
        """
        SELECT balance_micro FROM balance_snapshots WHERE account_id = $1 AND until <= $2 ORDER BY until DESC LIMIT 1
        """,
        account.account_id,
        base,
    )
    return (balance_micro or 0) + await _moved(connection, account, base, at)


async def movements(connection: Connection, account: Account, start: datetime, end: datetime) -> list[Movement]:
    """What moved an account within a period, by kind of transfer; within one snapshot."""
    rows = await connection.fetch(
        """
        SELECT kind, coalesce(sum(amount_micro) FILTER (WHERE amount_micro > 0), 0),
            coalesce(-sum(amount_micro) FILTER (WHERE amount_micro < 0), 0), count(*)
        FROM transfer_entries WHERE account_id = $1 AND recorded_at >= $2 AND recorded_at < $3
        GROUP BY kind ORDER BY kind
        """,
        account.account_id,
        start,
        end,
    )
    moved = [Movement(TransferKind(row[0]), int(row[1]), int(row[2]), row[3]) for row in rows]
    charged = await _charged_within(connection, account, start, end)
    if not charged.charges:
        return moved
    # All legs that charges have on one account are of one sign.
    increase_micro, decrease_micro = max(charged.amount_micro, 0), max(-charged.amount_micro, 0)
    return [Movement(TransferKind.FINALIZE, increase_micro, decrease_micro, charged.charges), *moved]


async def _moved(connection: Connection, account: Account, start: datetime, end: datetime) -> int:
    transferred = await connection.fetchval(
        """
        SELECT coalesce(sum(amount_micro), 0) FROM transfer_entries
        WHERE account_id = $1 AND recorded_at >= $2 AND recorded_at < $3
        """,
        account.account_id,
        start,
        end,
    )
    return int(transferred) + (await _charged(connection, account, start, end)).amount_micro


async def _charged_within(connection: Connection, account: Account, start: datetime, end: datetime) -> Charged:
    if account.is_personal or end - start <= HOUR:
        return await _charged(connection, account, start, end)
    return await _charged_before(connection, account, end) - await _charged_before(connection, account, start)


async def _charged_before(connection: Connection, account: Account, at: datetime) -> Charged:
    base = await _summed_before(connection, at)
    row = await connection.fetchrow(
        """
        SELECT charged_micro, charges FROM balance_snapshots
        WHERE account_id = $1 AND until <= $2 ORDER BY until DESC LIMIT 1
        """,
        account.account_id,
        base,
    )
    amount_micro, charges = await _charged(connection, account, base, at)
    return Charged((row[0] if row else 0) + amount_micro, (row[1] if row else 0) + charges)


async def _charged(connection: Connection, account: Account, start: datetime, end: datetime) -> Charged:
    leg = LEGS.get(account.kind)
    if not leg or start >= end:
        return Charged(0, 0)
    (row,) = await connection.fetch(
        f"""
        SELECT coalesce(sum({leg}), 0), count(*) FROM distributions
        WHERE {OWNERS.get(account.kind, ANYBODY)} AND {leg} <> 0 AND recorded_at >= $2 AND recorded_at < $3
        """,  # noqa: S608 - constants
        account.owner,
        start,
        end,
    )
    return Charged(int(row[0]), row[1])


async def _summed_before(connection: Connection, at: datetime) -> datetime:
    """The end of the last hour before an instant that is summed up: from there on entries are added."""
    summed_until: datetime = await connection.fetchval("SELECT summed_until FROM closed_hours")
    return min(summed_until, hour_of(at))
