"""What a service refuses, told over HTTP: the one table from gRPC codes to problems."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import grpc.aio

from gateway.problems import Problem
from gateway.schemas.problem import FieldProblem
from libs import rpc
from libs.refusals import Code

_BROKEN = "Something went wrong here; it has been written down."


@dataclass(frozen=True)
class Row:
    """How one gRPC code is told."""

    status: HTTPStatus
    detail: str
    """What is said where no refusal came with the code, or where its words are not for the outside."""
    quoted: bool = False
    """Whether a refusal's own reason and message are passed on."""
    bare: HTTPStatus | None = None
    """The status where the code came from gRPC itself and means something else then."""


TABLE: Mapping[Code, Row] = {
    Code.CANCELLED: Row(HTTPStatus.SERVICE_UNAVAILABLE, "The request was given up."),
    Code.UNKNOWN: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BROKEN),
    Code.INVALID_ARGUMENT: Row(HTTPStatus.BAD_REQUEST, "The request is not valid.", quoted=True),
    Code.DEADLINE_EXCEEDED: Row(HTTPStatus.GATEWAY_TIMEOUT, "The answer was not ready in time."),
    Code.NOT_FOUND: Row(HTTPStatus.NOT_FOUND, "There is no such thing.", quoted=True),
    Code.ALREADY_EXISTS: Row(HTTPStatus.CONFLICT, "There is one already.", quoted=True),
    Code.PERMISSION_DENIED: Row(HTTPStatus.FORBIDDEN, "This is not allowed.", quoted=True),
    # Without a refusal it is the service that is full, not the client that went too far.
    Code.RESOURCE_EXHAUSTED: Row(
        HTTPStatus.TOO_MANY_REQUESTS, "A limit is reached.", quoted=True, bare=HTTPStatus.SERVICE_UNAVAILABLE
    ),
    Code.FAILED_PRECONDITION: Row(HTTPStatus.CONFLICT, "This is not possible in the present state.", quoted=True),
    Code.ABORTED: Row(HTTPStatus.CONFLICT, "Another request got in between; try again.", quoted=True),
    Code.OUT_OF_RANGE: Row(HTTPStatus.BAD_REQUEST, "The request goes past the end.", quoted=True),
    # The service is older than the gateway, or has the method switched off.
    Code.UNIMPLEMENTED: Row(HTTPStatus.NOT_IMPLEMENTED, "This is not there yet."),
    Code.INTERNAL: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BROKEN),
    Code.UNAVAILABLE: Row(HTTPStatus.SERVICE_UNAVAILABLE, "A service is not available; try again.", quoted=True),
    Code.DATA_LOSS: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BROKEN),
    # The client's token was checked here: a service that does not know its caller does not know the gateway. What is
    # refused by name is something that came with the request: a callback's signature.
    Code.UNAUTHENTICATED: Row(HTTPStatus.UNAUTHORIZED, _BROKEN, quoted=True, bare=HTTPStatus.INTERNAL_SERVER_ERROR),
}

REASONS: Mapping[str, HTTPStatus] = {
    "REQUEST_ID_REUSED": HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Reasons that mean another status than their code does."""

OURS = frozenset({"CALLER_NOT_ALLOWED", "MALFORMED_REQUEST"})
"""Reasons that say that the gateway did something wrong, not its client."""


class Refused(Problem):
    """A service said no."""

    def __init__(
        self, code: int, reason: str = "", message: str = "", *, wait: int = 1, errors: tuple[FieldProblem, ...] = ()
    ) -> None:
        """Take a gRPC code, and the reason and message of the refusal; without a reason gRPC itself said no."""
        known = Code(code) if code in set(Code) else Code.UNKNOWN
        if reason in OURS:
            known, reason = Code.INTERNAL, ""
        row = TABLE[known]
        quoted = row.quoted and bool(reason)
        super().__init__(message if quoted else row.detail, errors=errors if quoted else ())
        self._reason = reason if quoted else known.name
        self.grpc_code = known
        self.status = REASONS.get(reason, row.status) if quoted else row.bare or row.status
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE or (self.status == HTTPStatus.TOO_MANY_REQUESTS and wait > 1):
            self.headers["Retry-After"] = str(wait)

    @property
    def reason(self) -> str:
        """The refusal's own reason, else the name of the gRPC code."""
        return self._reason


def translated(error: grpc.aio.AioRpcError) -> tuple[Refused, str]:
    """The problem that a failed call is, and the field that the service complained of, in the service's words."""
    refusal = rpc.refusal_of(error)
    bare = refusal.reason == refusal.code.name
    stated = refusal.data.get("retry_after_seconds", "")
    wait = int(stated) if stated.isdecimal() and len(stated) < 10 else 1  # noqa: PLR2004
    field = refusal.data.get("field", "")
    return Refused(refusal.code, "" if bare else refusal.reason, refusal.message, wait=wait), field
