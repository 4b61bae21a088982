"""Scores fetched from where they are published."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, NamedTuple

import aiohttp

from libs.clock import Clock
from libs.periods import month_of, week_of
from libs.postgres import Postgres
from libs.refusals import FailedPrecondition, Unavailable
from services.score import metrics
from services.score.commands.imports import MAX_CHUNK, Import
from services.score.model import Order
from services.score.model.imports import Header, ScoreFormat, ScoreImport
from services.score.rules.imports import ImportTooLarge
from services.score.rules.runs import WEEK
from services.score.settings import Settings
from services.score.store import pulls
from services.score.store.pulls import Seen

_OK, _NOT_MODIFIED = 200, 304
_IN_MEMORY = 2**20


class PullNotConfigured(FailedPrecondition):
    """No address to pull scores from is configured."""


class PullFailed(Unavailable):
    """The source of the scores did not answer as it should; nothing was taken."""


class _Fetched(NamedTuple):
    etag: str
    sha256: bytes
    taken_at: datetime


async def pull(postgres: Postgres, clock: Clock, settings: Settings, order: Order) -> ScoreImport | None:
    """Fetch the file and import it; None where it is the one that was seen last, by its ETag or by its SHA-256.

    It is kept on disk while it is read, because only its end tells whether it is new. Raises PullNotConfigured,
    PullFailed, ImportTooLarge, PeriodRewarded.
    """
    if not settings.pull_url:
        raise PullNotConfigured
    url_hash = hashlib.sha256(settings.pull_url.encode()).digest()
    async with postgres.connection() as connection:
        seen = await pulls.find(connection, url_hash)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        fetched = await _fetch(settings, seen.etag, file, clock.now())
        if fetched is None or fetched.sha256 == seen.sha256:
            return None
        file.seek(0)
        taken = await _take(postgres, clock, settings, _header(settings, fetched, order, clock.now()), file)
    async with postgres.transaction() as connection:
        await pulls.save(connection, url_hash, Seen(fetched.etag, fetched.sha256), clock.now())
    metrics.IMPORTS.labels(taken.state.name.lower()).inc()
    return taken


async def _take(postgres: Postgres, clock: Clock, settings: Settings, header: Header, file: IO[bytes]) -> ScoreImport:
    taking = Import(postgres, clock, header, max_bytes=settings.import_max_bytes, swing_bps=settings.import_swing_bps)
    await taking.begin()
    await taking.read(_pieces(file))
    async with postgres.transaction() as connection:
        return await taking.end(connection)


async def _fetch(settings: Settings, etag: str, file: IO[bytes], now: datetime) -> _Fetched | None:
    sha256, size = hashlib.sha256(), 0
    timeout = aiohttp.ClientTimeout(total=settings.pull_timeout_seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(settings.pull_url, headers={"If-None-Match": etag} if etag else {}) as response,
        ):
            if response.status == _NOT_MODIFIED:
                return None
            if response.status != _OK:
                raise PullFailed(status=response.status)
            async for piece in response.content.iter_chunked(MAX_CHUNK):
                size += len(piece)
                if size > settings.import_max_bytes:
                    raise ImportTooLarge(limit=settings.import_max_bytes)
                sha256.update(piece)
                await asyncio.to_thread(file.write, piece)
            modified = response.headers.get("Last-Modified", "")
            return _Fetched(response.headers.get("ETag", ""), sha256.digest(), _taken_at(modified, now))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise PullFailed(error=type(error).__name__) from None


def _taken_at(modified: str, now: datetime) -> datetime:
    """When the source says it was made; the time of the pull where it says nothing that can be."""
    try:
        told = parsedate_to_datetime(modified)
    except ValueError:
        return now
    return min(told.astimezone(UTC), now)


def _header(settings: Settings, fetched: _Fetched, order: Order, now: datetime) -> Header:
    around = week_of if settings.run_cadence == WEEK else month_of
    return Header(
        period=around(now.date()).name,
        format=ScoreFormat.CSV if settings.pull_format == "csv" else ScoreFormat.JSON_LINES,
        decimals=settings.pull_decimals,
        taken_at=fetched.taken_at,
        source="pull",
        sha256=fetched.sha256,
        operator_id=order.operator_id,
        reason=order.reason,
    )


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, MAX_CHUNK):
        yield piece
