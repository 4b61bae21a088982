"""The books by time: entries in order of recording, balances as they were, and the sums that keep that quick."""

from datetime import datetime
from typing import Final, NamedTuple

from libs.postgres import Connection
from services.distribution.model import AccountKind
from services.distribution.model.ledger import TransferKind
from services.distribution.model.statements import Account, Cursor, Entry, Movement
from services.distribution.rules.statements import END, HOUR, hour_of

_LEGS: Final = {
    AccountKind.RECEIPTS: "promotional_micro - revenue_micro",
    AccountKind.COMMONS: "commons_micro",
    AccountKind.FOUNDATION: "foundation_micro",
    AccountKind.OPERATING: "-referrer_micro",
    AccountKind.PAYOUT_RESERVE: "referrer_micro",
    AccountKind.COMMUNITY: "community_micro",
    AccountKind.CREATOR_PENDING: "referrer_micro",
}
"""What a charge moves, by kind of account: the same as in the view `entries`."""

_OWNERS: Final = {
    AccountKind.COMMUNITY: "community_id = $1::text",
    # Said as the index says it.
    AccountKind.CREATOR_PENDING: "referrer_ref = $1::text::uuid AND referrer_micro > 0",
}
_ANYBODY: Final = "$1::text IS NOT NULL"


class Charged(NamedTuple):
    """Sum and number of the legs that charges have on one account."""

    amount_micro: int
    charges: int

    def __sub__(self, other: "Charged") -> "Charged":
        return Charged(self.amount_micro - other.amount_micro, self.charges - other.charges)


async def find_account(connection: Connection, name: str) -> Account | None:
    row = await connection.fetchrow("SELECT account_id, name, kind, balance_micro FROM accounts WHERE name = $1", name)
    return Account(row[0], row[1], AccountKind(row[2]), row[3]) if row else None


async def entries(connection: Connection, account: Account, after: Cursor, until: datetime, limit: int) -> list[Entry]:
    """Entries of one account after a place in the order of recording, and before an instant."""
    rows = await connection.fetch(entries_query(account.kind), account.owner, *after, until, limit, account.account_id)
    return [Entry(row[0], TransferKind(row[1]), account.name, row[2], row[3], row[4]) for row in rows]


def entries_query(kind: AccountKind) -> str:
    """Owner, place, end, limit and account id; each half stops by itself, in the order of its index."""
    leg = _LEGS.get(kind)
    charges = f"""
        (SELECT distribution_id AS transfer_id, 1::smallint AS kind, {leg} AS amount_micro,
            inference_charge_id AS cause_id, recorded_at
        FROM distributions
        WHERE {_OWNERS.get(kind, _ANYBODY)} AND {leg} <> 0
            AND (recorded_at, distribution_id) > ($2::timestamptz, $3::uuid) AND recorded_at < $4::timestamptz
        ORDER BY recorded_at, distribution_id LIMIT $5)
        UNION ALL
        """  # noqa: S608 - constants
    return f"""
        SELECT transfer_id::text, kind, amount_micro, cause_id, recorded_at FROM (
            {charges if leg else ""}
            (SELECT transfer_id, entry.kind, amount_micro, cause_id, entry.recorded_at
            FROM transfer_entries AS entry JOIN transfers USING (transfer_id)
            WHERE account_id = $6 AND $1::text IS NOT NULL
                AND (entry.recorded_at, transfer_id) > ($2::timestamptz, $3::uuid)
                AND entry.recorded_at < $4::timestamptz
            ORDER BY entry.recorded_at, transfer_id LIMIT $5)
        ) AS entries (transfer_id, kind, amount_micro, cause_id, recorded_at)
        ORDER BY entries.recorded_at, entries.transfer_id LIMIT $5
        """  # noqa: S608 - constants


async def transfer(connection: Connection, transfer_id: str) -> list[Entry]:
    """All legs of one transfer, also of a charge; none where there is no such transfer."""
    rows = await connection.fetch(
        """
        SELECT transfers.kind, name, leg.amount_micro, cause_id, recorded_at
        FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) WITH ORDINALITY
            AS leg (account_id, amount_micro, place) JOIN accounts USING (account_id)
        WHERE transfer_id = $1 ORDER BY place
        """,
        transfer_id,
    ) or await connection.fetch(
        "SELECT 1, account, amount_micro, inference_charge_id, recorded_at FROM entries WHERE transfer_id = $1",
        transfer_id,
    )
    return [Entry(transfer_id, TransferKind(row[0]), *row[1:]) for row in rows]


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
    leg = _LEGS.get(account.kind)
    if not leg or start >= end:
        return Charged(0, 0)
    (row,) = await connection.fetch(
        f"""
        SELECT coalesce(sum({leg}), 0), count(*) FROM distributions
        WHERE {_OWNERS.get(account.kind, _ANYBODY)} AND {leg} <> 0 AND recorded_at >= $2 AND recorded_at < $3
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


# Closing hours --------------------------------------------------------------------------------------------------------


async def fenced_until(connection: Connection) -> datetime:
    instant: datetime = await connection.fetchval("SELECT fenced_until FROM closed_hours")
    return instant


async def fence(connection: Connection, until: datetime) -> None:
    """From the commit on nothing is recorded before this instant, but by transactions that are under way."""
    await connection.execute("UPDATE closed_hours SET fenced_until = $1, fenced_at = NULL", until)


async def date_fence(connection: Connection) -> None:
    """Notes which transactions those are; after the commit of the fence."""
    await connection.execute(
        "UPDATE closed_hours SET fenced_at = pg_snapshot_xmax(pg_current_snapshot()) WHERE fenced_at IS NULL"
    )


async def is_summed(connection: Connection) -> bool:
    """Whether everything before the fence is summed up; the row is locked for the next fence."""
    done: bool = await connection.fetchval("SELECT summed_until = fenced_until FROM closed_hours FOR UPDATE")
    return done


async def is_quiet(connection: Connection) -> bool:
    """Whether they are all gone: then what is recorded before the fence changes no more."""
    quiet: bool = await connection.fetchval(
        "SELECT coalesce(pg_snapshot_xmin(pg_current_snapshot()) >= fenced_at, false) FROM closed_hours"
    )
    return quiet


async def next_hour(connection: Connection) -> datetime | None:
    """The first fenced hour that is not summed up and in which anything moved; the row is locked for it."""
    ((summed_until, fenced),) = await connection.fetch("SELECT summed_until, fenced_until FROM closed_hours FOR UPDATE")
    first: datetime | None = await connection.fetchval(
        """
        SELECT least(
            (SELECT min(recorded_at) FROM distributions WHERE recorded_at >= $1 AND recorded_at < $2),
            (SELECT min(recorded_at) FROM transfers WHERE recorded_at >= $1 AND recorded_at < $2)
        )
        """,
        summed_until,
        fenced,
    )
    return hour_of(first) if first else None


async def sum_hour(connection: Connection, hour: datetime) -> None:
    """Adds what moved in one hour to the balance that each account had before it."""
    await connection.execute(_SUM_HOUR, hour, hour + HOUR)
    await summed(connection, hour + HOUR)


async def summed(connection: Connection, until: datetime) -> None:
    await connection.execute("UPDATE closed_hours SET summed_until = $1 WHERE summed_until < $1", until)


_SUM_HOUR: Final = """
    WITH by_community AS MATERIALIZED (
        SELECT community_id,
            sum(promotional_micro - revenue_micro) AS receipts,
            count(*) FILTER (WHERE promotional_micro <> revenue_micro) AS receipts_legs,
            sum(commons_micro) AS commons, count(*) FILTER (WHERE commons_micro <> 0) AS commons_legs,
            sum(community_micro) AS community, count(*) FILTER (WHERE community_micro <> 0) AS community_legs,
            sum(foundation_micro) AS foundation, count(*) FILTER (WHERE foundation_micro <> 0) AS foundation_legs,
            sum(referrer_micro) AS referrers, count(*) FILTER (WHERE referrer_micro <> 0) AS referrers_legs
        FROM distributions WHERE recorded_at >= $1 AND recorded_at < $2 GROUP BY community_id
    ), charged (name, amount, legs) AS (
        SELECT 'platform:receipts', sum(receipts), sum(receipts_legs) FROM by_community
        UNION ALL SELECT 'commons', sum(commons), sum(commons_legs) FROM by_community
        UNION ALL SELECT 'foundation', sum(foundation), sum(foundation_legs) FROM by_community
        UNION ALL SELECT 'treasury:operating', -sum(referrers), sum(referrers_legs) FROM by_community
        UNION ALL SELECT 'treasury:payout_reserve', sum(referrers), sum(referrers_legs) FROM by_community
        UNION ALL SELECT 'community:' || community_id, community, community_legs FROM by_community
    ), moved AS (
        SELECT account_id, sum(amount) AS amount, sum(charged) AS charged, sum(charges) AS charges FROM (
            SELECT account_id, amount, amount AS charged, legs AS charges
            FROM charged JOIN accounts USING (name) WHERE legs > 0
            UNION ALL
            SELECT account_id, leg.amount_micro, 0, 0
            FROM transfers CROSS JOIN LATERAL unnest(account_ids, amounts_micro) AS leg (account_id, amount_micro)
                JOIN accounts USING (account_id)
            WHERE recorded_at >= $1 AND recorded_at < $2
                AND accounts.kind NOT LIKE 'creator%' AND accounts.kind <> 'credits'
        ) AS legs GROUP BY account_id
    )
    INSERT INTO balance_snapshots (account_id, until, balance_micro, charged_micro, charges)
    SELECT moved.account_id, $2, coalesce(last.balance_micro, 0) + moved.amount,
        coalesce(last.charged_micro, 0) + moved.charged, coalesce(last.charges, 0) + moved.charges
    FROM moved LEFT JOIN LATERAL (
        SELECT * FROM balance_snapshots WHERE account_id = moved.account_id AND until <= $1 ORDER BY until DESC LIMIT 1
    ) AS last ON true
"""
