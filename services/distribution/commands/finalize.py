"""Finalizing charges: checked, attributed, and handed to the group writer. Every charge gets an answer of its own."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from libs import telemetry
from libs.clock import Clock
from libs.ids import new_id_text
from libs.refusals import Refusal
from services.distribution.attribution import Attributions
from services.distribution.model import Answer, Charge, Posted
from services.distribution.rules import refusals
from services.distribution.rules.charges import check_batch_size, check_charge, fingerprint, replay
from services.distribution.settings import Settings
from services.distribution.writer.group import GroupWriter
from services.distribution.writer.ticket import Outcome, Ticket


class Unread(NamedTuple):
    """A charge that could not even be read, and why."""

    inference_charge_id: str
    refusal: Refusal


class Finalizer:
    """What the charges of all calls go through."""

    def __init__(self, clock: Clock, attributions: Attributions, writer: GroupWriter, settings: Settings) -> None:
        self._clock = clock
        self._attributions = attributions
        self._writer = writer
        self._enabled = settings.billing_enabled
        # A secret of any length makes a key of a length that BLAKE2b takes.
        self._key = blake2b(settings.fingerprint_key.encode()).digest()

    def check_enabled(self) -> None:
        """Raise BillingDisabled while nothing is to be finalized."""
        if not self._enabled:
            raise refusals.BillingDisabled

    def admit(self, charge: Charge | Unread, settled: Callable[[Ticket], None]) -> Ticket:
        """Check a charge and make its ticket; raises its refusal."""
        if isinstance(charge, Unread):
            raise charge.refusal
        check_charge(charge, self._clock.now())
        since = asyncio.get_running_loop().time()
        return Ticket(
            charge, fingerprint(charge, self._key), new_id_text(), settled, since, telemetry.current_traceparent()
        )

    def launch_known(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Launch at once those whose payer is in memory; the others have to be waited for."""
        known: list[Ticket] = []
        unknown: list[Ticket] = []
        for ticket in tickets:
            attribution = self._attributions.known(ticket.charge.payer_account_id)
            if attribution is None:
                unknown.append(ticket)
            else:
                ticket.attribution = attribution
                known.append(ticket)
        if known:
            self._submit(known)
        return unknown

    async def launch(self, tickets: Sequence[Ticket]) -> None:
        """Attribute tickets and submit them together; whatever keeps one from being written settles it."""
        misses: list[Ticket] = []
        for ticket in tickets:
            attribution = self._attributions.known(ticket.charge.payer_account_id)
            if attribution is None:
                misses.append(ticket)
            else:
                ticket.attribution = attribution
        async with asyncio.TaskGroup() as tasks:
            for ticket in misses:
                tasks.create_task(self._attribute(ticket))
        self._submit([ticket for ticket in tickets if ticket.outcome is None])

    async def _attribute(self, ticket: Ticket) -> None:
        """Learn the payer's attribution. A charge that was finalized before is settled here: it depends on nobody."""
        try:
            found = await self._attributions.find(ticket.charge)
        except Refusal as refusal:
            ticket.settle(refusal)
            return
        if isinstance(found, Posted):
            ticket.settle(replay(found, ticket.fingerprint))
        else:
            ticket.attribution = found

    def _submit(self, tickets: Sequence[Ticket]) -> None:
        try:
            self._writer.submit(tickets)
        except Refusal as refusal:
            for ticket in tickets:
                ticket.settle(refusal)


class Call:
    """Counts the charges of one call down, and tells when the last is settled."""

    __slots__ = ("_left", "done")

    def __init__(self, charges: int) -> None:
        self._left = charges
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settled(self, _: Ticket | None) -> None:
        """One charge less. A caller that hung up is not told; its charges are written all the same."""
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)


async def finalize(finalizer: Finalizer, charge: Charge | Unread) -> Answer:
    """Split one charge; raises its refusal."""
    finalizer.check_enabled()
    call = Call(1)
    ticket = finalizer.admit(charge, call.settled)
    if unknown := finalizer.launch_known((ticket,)):
        await finalizer.launch(unknown)
    await call.done
    outcome = _outcome(ticket)
    if isinstance(outcome, Answer):
        return outcome
    raise outcome


async def finalize_batch(finalizer: Finalizer, charges: Sequence[Charge | Unread]) -> list[Outcome]:
    """Split many charges, each for itself; outcomes in their order. Raises only what is wrong with the whole call."""
    finalizer.check_enabled()
    check_batch_size(len(charges))
    call = Call(len(charges))
    admitted = [_admitted(finalizer, charge, call) for charge in charges]
    await finalizer.launch([ticket for ticket in admitted if isinstance(ticket, Ticket)])
    await call.done
    return [_outcome(ticket) for ticket in admitted]


def _admitted(finalizer: Finalizer, charge: Charge | Unread, call: Call) -> Ticket | Refusal:
    try:
        return finalizer.admit(charge, call.settled)
    except Refusal as refusal:
        call.settled(None)
        return refusal


def _outcome(ticket: Ticket | Refusal) -> Outcome:
    if isinstance(ticket, Refusal):
        return ticket
    if ticket.outcome is None:
        raise AssertionError("a call is done when its last charge is settled")
    return ticket.outcome
