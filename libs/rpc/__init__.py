"""gRPC between services: one door in (`Server`), one way out (`channel`), one translator of refusals."""

from libs.calls import Refused, refusal_of
from libs.rpc.channel import channel
from libs.rpc.deadline import remaining_seconds
from libs.rpc.errors import (
    DependencyUnavailable,
    MalformedRequest,
    StoreUnavailable,
    TookTooLong,
)
from libs.rpc.identity import ANONYMOUS, CallerNotAllowed, Tls, current_caller
from libs.rpc.server import Server

__all__ = [
    "ANONYMOUS",
    "CallerNotAllowed",
    "DependencyUnavailable",
    "MalformedRequest",
    "Refused",
    "Server",
    "StoreUnavailable",
    "Tls",
    "TookTooLong",
    "channel",
    "current_caller",
    "refusal_of",
    "remaining_seconds",
]
