"""A way to a server that can be cut, or fall silent, at the worst moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards TCP to one server. While it is `mute`, what the server says does not get through."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._to = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self._speaks = asyncio.Event()
        self._speaks.set()

    async def start(self) -> None:
        """Listens, after a stop on the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def mute(self) -> None:
        self._speaks.clear()

    def cut(self) -> None:
        """Drops every connection; new ones get through, and hear the server again."""
        for writer in self._pairs:
            writer.transport.abort()
        self._speaks.set()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        mine = {writer, back}
        self._pairs |= mine
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(reader, back, None))
                    group.create_task(_copy(there, writer, self._speaks))
        except* OSError:
            pass
        finally:
            self._pairs -= mine
            for each in mine:
                each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaks: asyncio.Event | None) -> None:
    while chunk := await reader.read(65_536):
        if speaks is not None:
            await speaks.wait()
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError  # ends the other direction too


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the database at `dsn`, and the address through it."""
    parts = urlsplit(dsn)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    await proxy.start()
    login = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}" if login else f"127.0.0.1:{proxy.port}")
    try:
        yield proxy, urlunsplit(through)
    finally:
        await proxy.stop()
