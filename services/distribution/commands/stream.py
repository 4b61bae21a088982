"""A stream of charges: read, launched and answered as they come, a bounded number of them at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

from libs.refusals import Refusal
from services.distribution.commands.finalize import Finalizer, Unread
from services.distribution.model import Charge
from services.distribution.writer.ticket import Outcome, Ticket

TOGETHER_MAX = 500
"""Answers in one message."""


class Asked(NamedTuple):
    """Charges of one message; `together` lets their answers share messages."""

    charges: Sequence[Charge | Unread]
    together: bool


Settled = tuple[str, Outcome]
"""A charge's id and what came of it."""

Write = Callable[[Sequence[Settled], bool], Awaitable[None]]
"""Sends answers in one message: one alone, or several together."""


async def finalize_stream(
    finalizer: Finalizer, asked: AsyncIterator[Asked], write: Write, *, in_flight_max: int
) -> None:
    """Split charges until the stream ends; `write` is given each one's id and outcome once, in no particular order."""
    finalizer.check_enabled()
    stream = _Stream(finalizer, in_flight_max)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.write_all(write))
        await stream.read_all(asked, tasks)


class _Stream:
    """`room` is how many more charges may be unanswered; what is settled waits in two lists for the one who writes."""

    def __init__(self, finalizer: Finalizer, in_flight_max: int) -> None:
        self._finalizer = finalizer
        self._in_flight_max = self._room = in_flight_max
        self._has_room = asyncio.Event()
        self._ended = False
        self._alone: list[Settled] = []
        self._together: list[Settled] = []
        self._work = asyncio.Event()

    async def read_all(self, asked: AsyncIterator[Asked], tasks: asyncio.TaskGroup) -> None:
        """Launch every charge; reading waits while too many are unanswered."""
        async for charges, together in asked:
            launched = 0
            while launched < len(charges):
                while not self._room:
                    self._has_room.clear()
                    await self._has_room.wait()
                part = charges[launched : launched + self._room]
                launched += len(part)
                self._room -= len(part)
                self._launch(part, together, tasks)
        self._ended = True
        self._work.set()

    def _launch(self, charges: Sequence[Charge | Unread], together: bool, tasks: asyncio.TaskGroup) -> None:  # noqa: FBT001
        settled = self._settled_together if together else self._settled_alone
        tickets: list[Ticket] = []
        for charge in charges:
            try:
                tickets.append(self._finalizer.admit(charge, settled))
            except Refusal as refusal:
                self._note(self._together if together else self._alone, charge.inference_charge_id, refusal)
        if unknown := self._finalizer.launch_known(tickets):
            tasks.create_task(self._finalizer.launch(unknown))

    def _settled_alone(self, ticket: Ticket) -> None:
        self._note(self._alone, ticket.charge.inference_charge_id, ticket.outcome)

    def _settled_together(self, ticket: Ticket) -> None:
        self._note(self._together, ticket.charge.inference_charge_id, ticket.outcome)

    def _note(self, ready: list[Settled], charge_id: str, outcome: Outcome | None) -> None:
        if outcome is not None:
            ready.append((charge_id, outcome))
            self._work.set()

    async def write_all(self, write: Write) -> None:
        """Answer until everything that was read is answered; what a group commit settled goes out together."""
        while not (self._ended and self._room == self._in_flight_max):
            await self._work.wait()
            self._work.clear()
            alone, self._alone = self._alone, []
            for each in alone:
                await self._write(write, (each,), together=False)
            while self._together:
                part, self._together = self._together[:TOGETHER_MAX], self._together[TOGETHER_MAX:]
                await self._write(write, part, together=True)

    async def _write(self, write: Write, part: Sequence[Settled], *, together: bool) -> None:
        await write(part, together)
        self._room += len(part)
        self._has_room.set()
