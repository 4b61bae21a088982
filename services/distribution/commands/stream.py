"""A stream of charges: read, launched and answered as they come, a bounded number of them at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from libs.refusals import Refusal
from services.distribution.commands.finalize import Finalizer, Unread
from services.distribution.model import Charge
from services.distribution.writer.ticket import Outcome, Ticket

Write = Callable[[str, Outcome], Awaitable[None]]


async def finalize_stream(
    finalizer: Finalizer, charges: AsyncIterator[Charge | Unread], write: Write, *, in_flight_max: int
) -> None:
    """Split charges until the stream ends; `write` is given each one's id and outcome, in no particular order."""
    finalizer.check_enabled()
    stream = _Stream(finalizer, in_flight_max)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.write_all(write))
        await stream.read_all(charges, tasks)


class _Stream:
    def __init__(self, finalizer: Finalizer, in_flight_max: int) -> None:
        self._finalizer = finalizer
        # Bounded by the room: there is never more in it than is in flight, and one end.
        self._outcomes: asyncio.Queue[tuple[str, Outcome] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(in_flight_max)
        self._in_flight = 0

    async def read_all(self, charges: AsyncIterator[Charge | Unread], tasks: asyncio.TaskGroup) -> None:
        """Launch every charge; reading waits while too many are unanswered."""
        async for charge in charges:
            await self._room.acquire()
            self._in_flight += 1
            try:
                ticket = self._finalizer.admit(charge, self._settled)
            except Refusal as refusal:
                self._outcomes.put_nowait((charge.inference_charge_id, refusal))
                continue
            if not self._finalizer.launch_known(ticket):
                tasks.create_task(self._finalizer.launch((ticket,)))
        self._outcomes.put_nowait(None)

    def _settled(self, ticket: Ticket) -> None:
        if ticket.outcome is not None:
            self._outcomes.put_nowait((ticket.charge.inference_charge_id, ticket.outcome))

    async def write_all(self, write: Write) -> None:
        """Answer until everything that was read is answered."""
        ended = False
        while self._in_flight or not ended:
            outcome = await self._outcomes.get()
            if outcome is None:
                ended = True
                continue
            await write(*outcome)
            self._in_flight -= 1
            self._room.release()
