"""Tables beside those that are read: what a rebuild fills, under the names that everybody else's statements use.

In the session of whoever rebuilds, temporary views stand before the tables of their names: `INSERT INTO places` writes
to next_places there. So a replay runs the very functions that consumers run. The views end with the session.
"""

from collections.abc import Iterable
from typing import Final

from asyncpg import Record

from libs.postgres import Connection

MADE: Final = ("places", "referral_days", "earning_days", "reversal_days", "open_parts", "referees")
"""Made from events; in the order in which they are locked."""
_BOOKKEEPING: Final = ("inbox", "dead_letters")
_ALL: Final = (*MADE, *_BOOKKEEPING)


class ConsumersAhead(Exception):
    """What is read holds events that the tables beside do not hold yet."""


async def drop(connection: Connection) -> None:
    """Removes the tables beside, and the views on them."""
    await step_out(connection)
    for table in _ALL:
        await connection.execute(f"DROP TABLE IF EXISTS next_{table} CASCADE")


async def make(connection: Connection) -> None:
    """Makes empty ones, each as the table it stands beside."""
    await drop(connection)
    for table in _ALL:
        await _make_one(connection, table)


async def cover(connection: Connection, places: Iterable[tuple[str, int]]) -> None:
    """Gives a position to every topic and partition that is to be read."""
    await connection.executemany(
        "INSERT INTO next_inbox (topic, partition, position) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING", sorted(places)
    )


async def step_in(connection: Connection) -> None:
    """From now on this session's statements mean the tables beside."""
    await step_out(connection)
    for table in _ALL:
        await connection.execute(f"CREATE TEMPORARY VIEW {table} AS SELECT * FROM next_{table}")  # noqa: S608


async def step_out(connection: Connection) -> None:
    """And again those that are read."""
    for table in _ALL:
        await connection.execute(f"DROP VIEW IF EXISTS pg_temp.{table}")


async def lock_positions(connection: Connection) -> None:
    """Holds back every consumer; raises ConsumersAhead where one of them is ahead of the tables beside."""
    await connection.execute(
        """
        INSERT INTO inbox (topic, partition, position) SELECT topic, partition, 0 FROM next_inbox ORDER BY 1, 2
        ON CONFLICT (topic, partition) DO UPDATE SET position = inbox.position
        """
    )
    ahead: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM inbox JOIN next_inbox USING (topic, partition) WHERE inbox.position > next_inbox.position
        )
        """
    )
    if ahead:
        raise ConsumersAhead


async def swap(connection: Connection) -> None:
    """Puts the tables beside in the place of those that are read, and consumers to where they stand.

    The positions and the row of `progress` are locked. What was given up on before counts as this replay has it.
    """
    await connection.execute(
        """
        UPDATE inbox SET position = next_inbox.position FROM next_inbox
        WHERE (inbox.topic, inbox.partition) = (next_inbox.topic, next_inbox.partition)
        """
    )
    await connection.execute(
        """
        DELETE FROM dead_letters USING next_inbox
        WHERE (dead_letters.topic, dead_letters.partition) = (next_inbox.topic, next_inbox.partition)
        """
    )
    await connection.execute("INSERT INTO dead_letters SELECT * FROM next_dead_letters")
    # Days that were published meanwhile are closed here too.
    await connection.execute("DELETE FROM next_open_parts USING progress WHERE day <= published_through")
    await connection.execute(f"LOCK TABLE {', '.join(MADE)} IN ACCESS EXCLUSIVE MODE")
    for table in MADE:
        parts = await _parts_of(connection, table)
        await connection.execute(f"DROP TABLE {table} CASCADE")
        for name in (table, *(part["name"] for part in parts)):
            await connection.execute(f"ALTER TABLE next_{name} RENAME TO {name}")
    for table in _BOOKKEEPING:
        await connection.execute(f"DROP TABLE next_{table}")
    await connection.execute("UPDATE progress SET generation = generation + 1")


async def measure(connection: Connection) -> None:
    """Lets the planner know the tables beside before anybody reads them."""
    for table in MADE:
        await connection.execute(f"ANALYZE next_{table}")


async def _make_one(connection: Connection, table: str) -> None:
    parts = await _parts_of(connection, table)
    how = "PARTITION BY " + parts[0]["by"] if parts else ""
    await connection.execute(f"CREATE TABLE next_{table} (LIKE {table} INCLUDING ALL) {how}")
    await _set_options(connection, table)
    for part in parts:
        name = part["name"]
        await connection.execute(f"CREATE TABLE next_{name} PARTITION OF next_{table} {part['bound']}")
        await _set_options(connection, name)


async def _parts_of(connection: Connection, table: str) -> list[Record]:
    """Partitions of a table, what each holds, and by what they are told apart."""
    parts: list[Record] = await connection.fetch(
        """
        SELECT relname AS name, pg_get_expr(relpartbound, pg_class.oid) AS bound, pg_get_partkeydef(inhparent) AS by
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = $1::text::regclass ORDER BY 1
        """,
        table,
    )
    return parts


async def _set_options(connection: Connection, table: str) -> None:
    options = await connection.fetchval("SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass", table)
    if options:
        await connection.execute(f"ALTER TABLE next_{table} SET ({', '.join(options)})")
