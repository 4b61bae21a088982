"""Files of scores: read as they come, taken whole or not at all."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.telemetry import logger
from services.score import metrics
from services.score.model import Order
from services.score.model.imports import BadLine, Header, ImportState, Line, ScoreImport
from services.score.rules import imports as rules
from services.score.rules.lines import Lines
from services.score.rules.requests import ImportUnknown
from services.score.store import imports, runs, snapshots

log = logger(__name__)

MAX_CHUNK: Final = 2**20
_BATCH: Final = 2000
_SLOW: Final = "SET LOCAL statement_timeout = '10min'"
"""A million rows are written and sorted in one statement."""


class Import:
    """One file on its way in. Its lines are kept as they come; nothing counts before `end`."""

    def __init__(self, postgres: Postgres, clock: Clock, header: Header, *, max_bytes: int, swing_bps: int) -> None:
        self.import_id: UUID = new_id()
        self._postgres = postgres
        self._clock = clock
        self._header = header
        self._max_bytes = max_bytes
        self._swing_bps = swing_bps
        self._lines = Lines(header.format, header.decimals)
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._bad_lines = 0
        self._good: list[Line] = []
        self._bad: list[BadLine] = []

    async def begin(self) -> None:
        """Open it. Raises PeriodRewarded."""
        async with self._postgres.transaction() as connection:
            await _check_open(connection, self._header.period)
            await imports.insert(connection, self.import_id, self._header, self._clock.now())

    async def read(self, pieces: AsyncIterator[bytes]) -> None:
        """Read all of it. Raises ImportTooLarge, ImportChunkTooLarge; gives the import up for whatever goes wrong."""
        try:
            async for piece in pieces:
                await self._feed(piece)
            for line in self._lines.end():
                self._sort(line)
            await self._flush()
        except BaseException:
            await asyncio.shield(give_up(self._postgres, self._clock, self.import_id))
            raise

    async def _feed(self, piece: bytes) -> None:
        if len(piece) > MAX_CHUNK:
            raise rules.ImportChunkTooLarge(limit=MAX_CHUNK)
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise rules.ImportTooLarge(limit=self._max_bytes)
        self._sha256.update(piece)
        for line in self._lines.feed(piece):
            self._sort(line)
            if len(self._good) + len(self._bad) >= _BATCH:
                # Writing lets others have the loop in between, too.
                await self._flush()

    def _sort(self, line: Line | BadLine) -> None:
        if isinstance(line, Line):
            self._good.append(line)
        else:
            self._bad.append(line)

    async def _flush(self) -> None:
        good, bad = self._good, self._bad
        self._good, self._bad = [], []
        self._bad_lines += len(bad)
        async with self._postgres.transaction() as connection:
            await imports.add_lines(connection, self.import_id, good)
            await imports.add_errors(connection, self.import_id, bad)
            progress = {"size": self._size, "lines": self._lines.number, "bad_lines": self._bad_lines}
            if not await imports.move_on(connection, self.import_id, **progress):
                raise ImportUnknown("The import was given up meanwhile: it was silent for too long.")

    async def end(self, connection: Connection) -> ScoreImport:
        """Take it, refuse it, or let a second operator decide; in the caller's transaction."""
        await connection.execute(_SLOW)
        await _check_open(connection, self._header.period)
        now, sha256 = self._clock.now(), self._sha256.digest()
        duplicates = await imports.mark_duplicates(connection, self.import_id) if not self._bad_lines else 0
        bad_lines = self._bad_lines + duplicates
        counted = await imports.sum_up(connection, self.import_id)
        if fault := self._fault(sha256, counted[0]):
            await imports.add_errors(connection, self.import_id, [BadLine(0, fault, "")])
        former = await snapshots.newest(connection)
        state = ImportState.ACCEPTED
        if bad_lines or fault:
            state = ImportState.REFUSED
        elif rules.moved_too_far(counted[1], former, self._swing_bps):
            state = ImportState.AWAITING_APPROVAL
        await imports.close(
            connection,
            self.import_id,
            state,
            sha256=sha256,
            bad_lines=bad_lines,
            counted=counted,
            former_total=former.total_score if former else None,
            now=now,
        )
        if state is ImportState.ACCEPTED:
            await snapshots.make(connection, new_id(), self.import_id, now)
        if state is not ImportState.AWAITING_APPROVAL:
            await imports.drop_lines(connection, self.import_id)
        return await _find(connection, self.import_id)

    def _fault(self, sha256: bytes, wallets: int) -> str:
        if self._header.sha256 not in (b"", sha256):
            return "SHA256_MISMATCH"
        return "" if wallets or self._bad_lines else "NO_SCORES"


@retried
async def decide(postgres: Postgres, clock: Clock, import_id: UUID, order: Order, *, approve: bool) -> ScoreImport:
    """A second operator takes or drops an import that waits.

    The same decision by the same operator again changes nothing. Raises ImportUnknown, ImportNotAwaiting,
    ImportApproverSame, PeriodRewarded.
    """
    wanted = ImportState.ACCEPTED if approve else ImportState.REJECTED
    async with postgres.transaction() as connection:
        found = await imports.lock(connection, import_id)
        if found is None:
            raise ImportUnknown
        if found.state is wanted and found.decided_by == order.operator_id:
            return found
        rules.check_deciding(found, order.operator_id)
        if approve:
            await _check_open(connection, found.period)
        await connection.execute(_SLOW)
        now = clock.now()
        await imports.decide(connection, import_id, wanted, order, now)
        if approve:
            await snapshots.make(connection, new_id(), import_id, now)
        await imports.drop_lines(connection, import_id)
        decided = await _find(connection, import_id)
    metrics.IMPORTS.labels(wanted.name.lower()).inc()
    return decided


async def give_up(postgres: Postgres, clock: Clock, import_id: UUID) -> None:
    """End an import that nobody reads any more; nothing of it stays but its row."""
    async with postgres.transaction() as connection:
        await _interrupt(connection, clock, import_id)


async def give_up_silent(postgres: Postgres, clock: Clock, idle: timedelta) -> int:
    """End those whose reader is gone, and return how many."""
    async with postgres.transaction() as connection:
        abandoned = await imports.lock_abandoned(connection, idle)
        for import_id in abandoned:
            await _interrupt(connection, clock, import_id)
    return len(abandoned)


async def _interrupt(connection: Connection, clock: Clock, import_id: UUID) -> None:
    found = await imports.lock(connection, import_id)
    if found is None or found.state is not ImportState.READING:
        return
    await imports.add_errors(connection, import_id, [BadLine(0, "INTERRUPTED", "")])
    await imports.close(
        connection,
        import_id,
        ImportState.REFUSED,
        sha256=None,
        bad_lines=found.bad_lines,
        counted=(0, 0),
        former_total=None,
        now=clock.now(),
    )
    await imports.drop_lines(connection, import_id)
    log.warning("an import was given up", import_id=str(import_id), lines=found.lines)


async def _check_open(connection: Connection, period: str) -> None:
    if await runs.is_rewarded(connection, period):
        raise rules.PeriodRewarded


async def _find(connection: Connection, import_id: UUID) -> ScoreImport:
    found = await imports.find(connection, import_id)
    if found is None:
        raise AssertionError
    return found
