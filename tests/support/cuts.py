"""Connections lost at one chosen statement: before it is sent, or done and its answer never read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

_METHODS = ("execute", "executemany", "fetch", "fetchrow", "fetchval")

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the one whose connection was cut sees."""


class Cut:
    """Counts statements, BEGIN and COMMIT among them, and cuts the connection of one of them."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at = at
        self.after = after
        self.statements = 0

    async def run(self, method: Any, connection: asyncpg.Connection, *args: Any, **options: Any) -> Any:
        self.statements += 1
        mine = self.statements == self.at
        if mine and not self.after:
            connection.terminate()
        done = await method(connection, *args, **options)
        if mine and self.after:
            connection.terminate()
            raise ConnectionResetError("cut off")
        return done

    @property
    def happened(self) -> bool:
        return self.statements >= self.at


@contextmanager
def cut(at: int, *, after: bool) -> Iterator[Cut]:
    """While it lasts, the `at`-th statement of this process loses its connection."""
    cutting = Cut(at, after=after)
    originals = {name: getattr(asyncpg.Connection, name) for name in _METHODS}

    def cuttable(original: Any) -> Any:
        async def method(connection: asyncpg.Connection, *args: Any, **options: Any) -> Any:
            return await cutting.run(original, connection, *args, **options)

        return method

    for name, original in originals.items():
        setattr(asyncpg.Connection, name, cuttable(original))
    try:
        yield cutting
    finally:
        for name, original in originals.items():
            setattr(asyncpg.Connection, name, original)
