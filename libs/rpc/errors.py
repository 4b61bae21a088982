"""The only translator between refusals and google.rpc.Status, in both directions.

A refusal keeps its code, reason, message and data. A fault of the store or of another service is UNAVAILABLE. Whatever
else is raised is a bug, told as INTERNAL without a word of detail.
"""

import socket

import asyncpg
import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from libs.refusals import Aborted, Code, InvalidArgument, Refusal, Unavailable

DOMAIN = "creator-economy"

# gRPC bounds all trailing metadata of a call to 8 KiB; an echoed value must not cost the answer.
_MESSAGE_CHARS = 500
_VALUE_CHARS = 200
_VALUES = 16


class StoreUnavailable(Unavailable):
    """The store cannot be reached now; try again."""


class DependencyUnavailable(Unavailable):
    """A service that this answer needs cannot be reached now; try again."""


class StoreConflict(Aborted):
    """Too many changes of the same thing at once; try the whole again."""


class MalformedRequest(InvalidArgument):
    """The request is not a message of this method."""


class _Late(Refusal, code=Code.DEADLINE_EXCEEDED):
    """Not answered in time."""


class TookTooLong(_Late):
    """The answer took longer than a call without a deadline may wait."""


class _Bug(Refusal, code=Code.INTERNAL):
    """Ours to mend."""


class InternalError(_Bug):
    """Raised as what the caller is told about a bug, which is nothing."""

    def __init__(self) -> None:
        super().__init__("internal error")


_STORE_FAULTS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up, statement cancelled
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_NOT_ANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


def as_refusal(error: BaseException) -> Refusal:
    """Find what to tell the caller about an error that came out of a handler."""
    error = _only(error)
    if isinstance(error, Refusal):
        return error
    if isinstance(error, DecodeError):
        return MalformedRequest()
    if isinstance(error, _CONFLICTS):
        return StoreConflict()
    if isinstance(error, _STORE_FAULTS) or _is_closed_connection(error):
        return StoreUnavailable()
    if isinstance(error, grpc.aio.AioRpcError) and error.code() in _NOT_ANSWERED:
        return DependencyUnavailable()
    return InternalError()


def to_status(refusal: Refusal) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Return code, message and trailing metadata for a refusal: google.rpc.Status with ErrorInfo and BadRequest."""
    message = refusal.message[:_MESSAGE_CHARS]
    data = {key: value[:_VALUE_CHARS] for key, value in list(refusal.data.items())[:_VALUES]}
    status = status_pb2.Status(code=refusal.code, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=data))
    if "field" in data:
        violation = error_details_pb2.BadRequest.FieldViolation(field=data["field"], description=message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    rich = rpc_status.to_status(status)
    return rich.code, rich.details, rich.trailing_metadata


def _only(error: BaseException) -> BaseException:
    """Look into a TaskGroup's error where it holds just one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _is_closed_connection(error: BaseException) -> bool:
    """Recognize what asyncpg tells by the same class as its callers' mistakes."""
    return isinstance(error, asyncpg.InterfaceError) and any(word in str(error) for word in ("closed", "closing"))
