"""Group commit: whatever waits a moment after the last commit is the next transaction. One writer, one connection."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Sequence

import asyncpg

from libs import telemetry
from libs.clock import Clock
from libs.postgres import CONFLICTS, FAULTS, Postgres
from libs.refusals import Refusal, Unavailable
from services.distribution import metrics
from services.distribution.model import Answer
from services.distribution.rules import charges, refusals
from services.distribution.settings import Settings
from services.distribution.writer.session import RulesMoved, Session, Written
from services.distribution.writer.ticket import Outcome, Ticket

_LOST = (
    *FAULTS,
    asyncpg.OperatorInterventionError,  # also a statement that took too long
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The database is away, or may be: whether a commit under way happened is unknown, and the group is tried again."""

_CONFLICTS = (*CONFLICTS, asyncpg.LockNotAvailableError)
_CONFLICTS_MAX = 5
_GROUP_SECONDS_MAX = 15.0
_PAUSE_SECONDS_EACH = 0.0004
_PAUSE_SECONDS_MAX = 0.004
_LARGE_GROUP = 64
_RECONNECT_SECONDS = 0.05
_RECONNECT_SECONDS_MAX = 1.0

_log = telemetry.logger(__name__)


class GroupWriter:
    """The one place where charges become rows: every ticket submitted is settled once, after its commit."""

    def __init__(self, postgres: Postgres, clock: Clock, settings: Settings) -> None:
        self._postgres = postgres
        self._clock = clock
        self._group_max = settings.group_commit_max
        self._queue_max = settings.ledger_queue_max
        self._patience_seconds = settings.ledger_patience_seconds
        self._queue: deque[Ticket] = deque()
        self._work = asyncio.Event()
        self._closed = False
        self._session: Session | None = None
        metrics.WAITING.set_function(lambda: len(self._queue))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Queue attributed charges. Raises LedgerBusy, and takes none, where there is no room for all."""
        if self._closed:
            raise refusals.LedgerUnreachable
        if len(self._queue) + len(tickets) > self._queue_max:
            raise refusals.LedgerBusy(limit=self._queue_max)
        self._queue.extend(tickets)
        self._work.set()

    async def run(self) -> None:
        """Write until cancelled; then whoever still waits is told to send again."""
        group: list[Ticket] = []
        ended = 0.0
        try:
            while True:
                await self._work.wait()
                await self._gather(len(group), ended)
                group = self._take()
                await self._finish(group)
                ended = asyncio.get_running_loop().time()
        finally:
            self._closed = True
            if self._session is not None:
                self._session.cut()
            for ticket in (*group, *self._queue):
                self._settle(ticket, refusals.LedgerUnreachable())

    async def _gather(self, last: int, ended: float) -> None:
        """Wait, after a small group, until those who were just answered can be back with their next charge.

        A fast disk returns sooner than that, so without the pause groups stay small and each charge bears a larger part
        of what a group costs: a quarter of the throughput at 64 callers. A lone caller waits for nobody, and a large
        group has nothing to gain.
        """
        pause = min(last * _PAUSE_SECONDS_EACH, _PAUSE_SECONDS_MAX) if 1 < last < _LARGE_GROUP else 0.0
        left = ended + pause - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    def _take(self) -> list[Ticket]:
        """Take the next group off the queue. A charge that is in it twice is written once; the others follow it."""
        group: dict[str, Ticket] = {}
        for _ in range(min(len(self._queue), self._group_max)):
            ticket = self._queue.popleft()
            first = group.setdefault(ticket.charge.inference_charge_id, ticket)
            if first is not ticket:
                first.follow(ticket)
        if not self._queue:
            self._work.clear()
        return list(group.values())

    async def _finish(self, group: Sequence[Ticket]) -> None:
        """Bring every ticket of a group to its end: written, found written, refused, or given up."""
        conflicts = losses = 0
        while group:
            try:
                written = await self._write(group)
            except RulesMoved:
                continue
            except _CONFLICTS as conflict:
                conflicts += 1
                if conflicts == _CONFLICTS_MAX:
                    return self._refuse(group, conflict)
                await asyncio.sleep(random.uniform(0.001, 0.01) * conflicts)  # noqa: S311 - jitter
            except _LOST as loss:
                losses += 1
                group = await self._recover(group, loss, losses)
            except Exception as error:  # noqa: BLE001 - one charge's fault is not everybody's
                return await self._bisect(group, error)
            else:
                return self._answer(group, written)
        return None

    async def _write(self, group: Sequence[Ticket]) -> Written:
        began = time.monotonic()
        async with asyncio.timeout(_GROUP_SECONDS_MAX):
            if self._session is None:
                self._session = await Session.open(self._postgres)
            with _in_a_trace(group):
                written = await self._session.write(group, self._clock.now())
        metrics.GROUP_CHARGES.observe(len(group))
        metrics.GROUP_SECONDS.observe(time.monotonic() - began)
        return written

    def _answer(self, group: Sequence[Ticket], written: Written) -> None:
        """Settle what was committed. What was there before but carries our own id was written by an earlier try."""
        posted = {row.posted.inference_charge_id: row.posted for row in written.rows}
        for ticket in group:
            charge_id = ticket.charge.inference_charge_id
            earlier = written.earlier.get(charge_id)
            if earlier is None:
                self._settle(ticket, Answer(posted[charge_id], replayed=False))
            elif earlier.distribution_id == ticket.distribution_id:
                self._settle(ticket, Answer(earlier, replayed=False))
            else:
                self._settle(ticket, charges.replay(earlier, ticket.fingerprint))
        metrics.count(ticket.outcome for ticket in group)

    async def _bisect(self, group: Sequence[Ticket], error: Exception) -> None:
        if len(group) == 1:
            return self._refuse(group, error)
        metrics.BISECTED.inc()
        middle = len(group) // 2
        await self._finish(group[:middle])
        await self._finish(group[middle:])
        return None

    def _refuse(self, group: Sequence[Ticket], error: Exception) -> None:
        """Settle what was not written and cannot be."""
        if isinstance(error, asyncpg.NumericValueOutOfRangeError):
            error = refusals.ChargeUnpostable()
        elif not isinstance(error, (Refusal, *_CONFLICTS)):
            _log.error("a charge cannot be written", exc_info=error)
        for ticket in group:
            self._settle(ticket, error)

    async def _recover(self, group: Sequence[Ticket], loss: Exception, losses: int) -> Sequence[Ticket]:
        """Drop the connection, wait a little, and return the part of the group that still has patience."""
        metrics.LOST.inc()
        _log.warning("the ledger's database is away", fault=type(loss).__name__)
        if self._session is not None:
            self._session.cut()
            self._session = None
        # The first try again is made at once: most often a connection has been cut, and the server is there.
        if losses > 1:
            await asyncio.sleep(min(_RECONNECT_SECONDS * 2**losses, _RECONNECT_SECONDS_MAX))
        since = asyncio.get_running_loop().time() - self._patience_seconds
        while self._queue and self._queue[0].since < since:
            self._settle(self._queue.popleft(), refusals.LedgerUnreachable())
        for ticket in group:
            if ticket.since < since:
                self._settle(ticket, refusals.LedgerUnreachable())
        return [ticket for ticket in group if ticket.outcome is None]

    def _settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """End a ticket and those that follow it: they are the same charge again, or another one under its id."""
        ticket.settle(outcome)
        others: list[Ticket] = []
        for follower in ticket.followers or ():
            if isinstance(outcome, Answer):
                follower.settle(charges.replay(outcome.posted, follower.fingerprint))
            elif isinstance(outcome, Unavailable) or follower.fingerprint == ticket.fingerprint:
                follower.settle(outcome)
            else:
                others.append(follower)
        if others:
            self._queue.extendleft(reversed(others))
            self._work.set()


def _in_a_trace(group: Sequence[Ticket]) -> contextlib.AbstractContextManager[None]:
    """Let a commit, and the events that it writes, belong to the trace of a charge in it; most have none."""
    parent = telemetry.foremost(ticket.traceparent for ticket in group if ticket.traceparent)
    return telemetry.span("commit charges", parent) if parent else contextlib.nullcontext()
