"""What every gRPC caller declares and understands, with nothing but gRPC: retries, limits, what a refusal looks like.

The client that others install is made of this too, so nothing here may need a database, a broker or a tracer.
"""

import json
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from libs.refusals import Code

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
REQUEST_ID_KEY: Final = "x-request-id"

# Every method may be sent twice: that is what request ids and natural keys are for. So UNAVAILABLE is always retried,
# at most three times, and less while most calls fail (throttling), so that a struggling service is not buried.
# CANCELLED by the other side is what calls get that reach a gRPC server in the moment it stops; a caller's own
# cancellation is never retried.
SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
    }
)
CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
)


class Refused(Exception):
    """Another service's refusal, as its caller sees it."""

    def __init__(self, code: Code, reason: str, message: str, data: dict[str, str]) -> None:
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.data = data


def refusal_of(error: grpc.aio.AioRpcError) -> Refused:
    """Read the refusal in a failed call. Where gRPC itself failed the reason is the code's name, the text our own."""
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        status = None
    if status is not None:
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return Refused(Code(status.code), info.reason, status.message, dict(info.metadata))
    code = Code[error.code().name]
    return Refused(code, code.name, code.name.replace("_", " ").lower(), {})
