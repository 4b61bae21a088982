"""SQL of a replay: positions and dead letters in the tables beside."""

from collections.abc import Mapping

from libs.postgres import Connection
from protos.events.v1.events_pb2 import Event

Positions = Mapping[tuple[str, int], int]
"""The last position of each topic and partition."""


async def relax(connection: Connection) -> None:
    """This transaction need not be on disk when it ends: what is lost of it, position and all, is read again."""
    await connection.execute("SET LOCAL synchronous_commit = off")
    await connection.execute("SET LOCAL work_mem = '64MB'")


async def hurry(connection: Connection, lock_wait: str) -> None:
    """This transaction waits for no lock longer than so."""
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", lock_wait)


async def advance(connection: Connection, positions: Positions) -> None:
    """Moves on, in the transaction of the effect."""
    await connection.executemany(
        "UPDATE inbox SET position = $3 WHERE topic = $1 AND partition = $2",
        [(topic, partition, position) for (topic, partition), position in sorted(positions.items())],
    )


async def put_aside(connection: Connection, event: Event, error: BaseException) -> None:
    """Keeps an event that cannot be applied."""
    await connection.execute(
        "INSERT INTO dead_letters (topic, partition, position, event, error) VALUES ($1, $2, $3, $4, $5)",
        event.topic,
        event.partition,
        event.position,
        event.SerializeToString(),
        type(error).__name__,
    )
