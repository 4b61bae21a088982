"""A file of scores, handed on as it comes: the gateway never holds more than a piece of it."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

import grpc.aio

from gateway.derived import shapes
from gateway.derived.area import OURS, PREFIX, sign
from gateway.derived.packing import packed, unpacked
from gateway.derived.words import said
from gateway.problems import Problem
from gateway.route import Call, Limited, Raw, Route, Scope
from gateway.routes.operators.score import SCORE
from gateway.schemas.wire import Reply
from protos.score.v1 import admin_pb2 as pb

_CALL: Final = SCORE.service.methods_by_name["ImportScores"]
_HEADER: Final = pb.ImportHeader.DESCRIPTOR
_ASKED: Final = [field for field in _HEADER.fields if field.name not in OURS]


class _Upload:
    """The parts of an import. What is wrong with the upload itself is kept: the channel would swallow it."""

    def __init__(self, header: pb.ImportHeader, pieces: AsyncIterator[bytes]) -> None:
        self._header = header
        self._pieces = pieces
        self.problem: Problem | None = None

    async def parts(self) -> AsyncIterator[pb.ImportScoresRequest]:
        """The header, then the file piece by piece."""
        yield pb.ImportScoresRequest(header=self._header)
        try:
            async for piece in self._pieces:
                yield pb.ImportScoresRequest(chunk=piece)
        except Problem as problem:
            self.problem = problem
            raise


async def import_scores(call: Call[AsyncIterator[bytes], Any]) -> Reply:
    header: Any = packed(_HEADER, call.query)
    sign(header, call)
    upload = _Upload(header, call.body)
    try:
        return unpacked(await call.room.services.score_admin.ImportScores(upload.parts()))
    except (grpc.aio.AioRpcError, grpc.aio.UsageError):
        if upload.problem is not None:
            raise upload.problem from None
        raise


ROUTES = (
    Route(
        method="POST",
        path=f"{PREFIX}/score/imports",
        name="importScores",
        summary=said(_CALL),
        tag=SCORE.tag,
        access=Scope(f"admin:{SCORE.name}:write"),
        limited=Limited.STANDARD,
        handler=import_scores,
        body=Raw.STREAMED,
        query=shapes.query("ImportScoresQuery", _HEADER, _ASKED, ("period", "format", "taken_at", "source", "reason")),
        idempotent=True,
        answers={HTTPStatus.OK: shapes.reply(_CALL.output_type)},
        problems={
            HTTPStatus.BAD_REQUEST: (
                "IMPORT_DECIMALS_INVALID",
                "IMPORT_FORMAT_INVALID",
                "IMPORT_HASH_INVALID",
                "IMPORT_SOURCE_INVALID",
                "IMPORT_TIME_INVALID",
                "PERIOD_INVALID",
                "SCORE_ORDER_INVALID",
                "INVALID_TIMESTAMP",
            ),
            HTTPStatus.CONFLICT: ("IMPORT_HASH_MISMATCH", "PERIOD_REWARDED"),
            HTTPStatus.TOO_MANY_REQUESTS: ("IMPORT_TOO_LARGE",),
        },
    ),
)
