"""Files of scores, for operators."""

from collections.abc import AsyncIterator
from uuid import UUID

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.score.v1 import admin_pb2, admin_pb2_grpc
from services.score import metrics
from services.score.commands import imports as commands
from services.score.commands.advancing import Advancing
from services.score.commands.pulling import pull
from services.score.model.imports import Header, ScoreImport, Snapshot
from services.score.rules import imports as rules
from services.score.rules import requests
from services.score.rules.wallets import check_address
from services.score.settings import Settings
from services.score.store import imports, snapshots

_PAGE, _MAX_PAGE = 50, 200
_LINES, _MAX_LINES = 200, 1000


class Imports(admin_pb2_grpc.ScoreAdminServiceServicer):
    """Taken, decided on, looked at."""

    def __init__(self, postgres: Postgres, clock: Clock, settings: Settings, advancing: Advancing) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._advancing = advancing

    async def ImportScores(
        self, request_iterator: AsyncIterator[admin_pb2.ImportScoresRequest], context: Context
    ) -> admin_pb2.ImportScoresResponse:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "header":
            raise rules.ImportHeaderMissing
        header = self._header(first.header)
        once = Once(first.header.request_id, first.header, admin_pb2.ImportScoresResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return _replayed(earlier)
        settings = self._settings
        taking = commands.Import(
            self._postgres,
            self._clock,
            header,
            max_bytes=settings.import_max_bytes,
            swing_bps=settings.import_swing_bps,
        )
        await taking.begin()
        await taking.read(_chunks(request_iterator))
        async with self._postgres.transaction() as connection:
            earlier = await once.replay(connection)
            if earlier is None:
                taken = await taking.end(connection)
                answer = await once.remember(connection, admin_pb2.ImportScoresResponse(score_import=_import(taken)))
        if earlier:  # sent twice at once
            await commands.give_up(self._postgres, self._clock, taking.import_id)
            return _replayed(earlier)
        metrics.IMPORTS.labels(taken.state.name.lower()).inc()
        return answer

    def _header(self, asked: admin_pb2.ImportHeader) -> Header:
        order = requests.check_order(asked.operator_id, asked.reason)
        if not asked.HasField("taken_at"):
            raise rules.ImportTimeInvalid(field="taken_at")
        header = Header(
            period=asked.period,
            format=rules.check_format(asked.format),
            decimals=asked.decimals,
            taken_at=to_datetime(asked.taken_at, field="taken_at"),
            source=asked.source,
            sha256=asked.sha256,
            operator_id=order.operator_id,
            reason=order.reason,
        )
        return rules.check_header(header, self._clock.now())

    async def PullScores(self, request: admin_pb2.PullScoresRequest, context: Context) -> admin_pb2.PullScoresResponse:
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, admin_pb2.PullScoresResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
        taken = await pull(self._postgres, self._clock, self._settings, order)
        answer = admin_pb2.PullScoresResponse(score_import=_import(taken) if taken else None, unchanged=taken is None)
        async with self._postgres.transaction() as connection:
            return await once.replay(connection) or await once.remember(connection, answer)

    async def GetImport(self, request: admin_pb2.GetImportRequest, context: Context) -> admin_pb2.GetImportResponse:
        return admin_pb2.GetImportResponse(score_import=_import(await self._find(request.import_id)))

    async def ListImports(
        self, request: admin_pb2.ListImportsRequest, context: Context
    ) -> admin_pb2.ListImportsResponse:
        size = requests.check_size(request.page_size, most=_MAX_PAGE, usual=_PAGE)
        below = requests.read_id_token(request.page_token)
        state = rules.check_state(request.state)
        async with self._postgres.connection() as connection:
            found = await imports.list_page(connection, state, below, size + 1)
        return admin_pb2.ListImportsResponse(
            imports=[_import(each) for each in found[:size]],
            next_page_token=found[size - 1].import_id.hex if len(found) > size else "",
        )

    async def ListImportErrors(
        self, request: admin_pb2.ListImportErrorsRequest, context: Context
    ) -> admin_pb2.ListImportErrorsResponse:
        size = requests.check_size(request.page_size, most=_MAX_LINES, usual=_LINES)
        after = requests.read_number_token(request.page_token)
        import_id = (await self._find(request.import_id)).import_id
        async with self._postgres.connection() as connection:
            found = await imports.list_errors(connection, import_id, after, size + 1)
        return admin_pb2.ListImportErrorsResponse(
            errors=[
                admin_pb2.ImportError(line=each.number, reason=each.reason, text=each.text) for each in found[:size]
            ],
            next_page_token=str(found[size - 1].number) if len(found) > size else "",
        )

    async def ApproveImport(
        self, request: admin_pb2.ApproveImportRequest, context: Context
    ) -> admin_pb2.ApproveImportResponse:
        return admin_pb2.ApproveImportResponse(score_import=_import(await self._decide(request, approve=True)))

    async def RejectImport(
        self, request: admin_pb2.RejectImportRequest, context: Context
    ) -> admin_pb2.RejectImportResponse:
        return admin_pb2.RejectImportResponse(score_import=_import(await self._decide(request, approve=False)))

    async def ListSnapshots(
        self, request: admin_pb2.ListSnapshotsRequest, context: Context
    ) -> admin_pb2.ListSnapshotsResponse:
        size = requests.check_size(request.page_size, most=_MAX_PAGE, usual=_PAGE)
        below = requests.read_id_token(request.page_token)
        async with self._postgres.connection() as connection:
            found = await snapshots.list_page(connection, below, size + 1)
        return admin_pb2.ListSnapshotsResponse(
            snapshots=[_snapshot(each) for each in found[:size]],
            next_page_token=found[size - 1].snapshot_id.hex if len(found) > size else "",
        )

    async def ListSnapshotScores(
        self, request: admin_pb2.ListSnapshotScoresRequest, context: Context
    ) -> admin_pb2.ListSnapshotScoresResponse:
        size = requests.check_size(request.page_size, most=_MAX_LINES, usual=_LINES)
        snapshot_id = requests.check_id(request.snapshot_id, "snapshot_id")
        address = check_address(request.wallet_address) if request.wallet_address else None
        after = bytes.fromhex(check_address(request.page_token)[2:]) if request.page_token else b""
        async with self._postgres.connection() as connection:
            if await snapshots.find(connection, snapshot_id) is None:
                raise requests.SnapshotUnknown
            found = await snapshots.list_scores(connection, snapshot_id, after, size + 1, address)
        return admin_pb2.ListSnapshotScoresResponse(
            scores=[admin_pb2.WalletScore(wallet_address=spelled, score=str(score)) for spelled, score in found[:size]],
            next_page_token=found[size - 1][0] if len(found) > size else "",
        )

    async def _decide(
        self, request: admin_pb2.ApproveImportRequest | admin_pb2.RejectImportRequest, *, approve: bool
    ) -> ScoreImport:
        # Its natural key is the import with the decision: the same operator deciding alike again changes nothing.
        order = requests.check_order(request.operator_id, request.reason)
        import_id = requests.check_id(request.import_id, "import_id")
        return await commands.decide(self._postgres, self._clock, import_id, order, approve=approve)

    async def _find(self, asked: str) -> ScoreImport:
        import_id: UUID = requests.check_id(asked, "import_id")
        async with self._postgres.connection() as connection:
            found = await imports.find(connection, import_id)
        if found is None:
            raise requests.ImportUnknown
        return found


async def _chunks(parts: AsyncIterator[admin_pb2.ImportScoresRequest]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise rules.ImportHeaderMissing
        yield part.chunk


def _replayed(earlier: admin_pb2.ImportScoresResponse) -> admin_pb2.ImportScoresResponse:
    earlier.replayed = True
    return earlier


def _import(found: ScoreImport) -> admin_pb2.ScoreImport:
    return admin_pb2.ScoreImport(
        import_id=str(found.import_id),
        period=found.period,
        state=admin_pb2.ImportState.ValueType(found.state),
        source=found.source,
        sha256=found.sha256 or b"",
        bytes=found.bytes,
        lines=found.lines,
        bad_lines=found.bad_lines,
        wallets=found.wallets,
        total_score=str(found.total_score),
        former_total_score="" if found.former_total_score is None else str(found.former_total_score),
        snapshot_id=str(found.snapshot_id or ""),
        operator_id=found.operator_id,
        decided_by=found.decided_by or "",
        taken_at=to_timestamp(found.taken_at),
        started_at=to_timestamp(found.started_at),
        ended_at=to_timestamp(found.ended_at) if found.ended_at else None,
    )


def _snapshot(found: Snapshot) -> admin_pb2.Snapshot:
    return admin_pb2.Snapshot(
        snapshot_id=str(found.snapshot_id),
        period=found.period,
        import_id=str(found.import_id),
        wallets=found.wallets,
        total_score=str(found.total_score),
        taken_at=to_timestamp(found.taken_at),
        accepted_at=to_timestamp(found.accepted_at),
    )
