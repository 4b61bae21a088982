"""creator.payout.v1.WebhookService: the provider's callbacks."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.refusals import InvalidArgument
from libs.rpc.door import Context
from protos.payout.v1 import webhooks_pb2 as pb
from protos.payout.v1 import webhooks_pb2_grpc
from services.payout.commands import callbacks
from services.payout.model.callbacks import CallbackKind

CALLERS: Final = frozenset({"gateway"})
"""Who may call it, by the name in the caller's certificate."""


_KINDS: Final = {int(kind): kind for kind in CallbackKind}


class CallbackKindInvalid(InvalidArgument):
    """A callback is about a payout or a payment."""


class WebhookServicer(webhooks_pb2_grpc.WebhookServiceServicer):
    """Verifies, stores, answers; applying is a job's."""

    def __init__(self, postgres: Postgres, clock: Clock, secrets: tuple[str, ...]) -> None:
        self._postgres = postgres
        self._clock = clock
        self._secrets = secrets

    async def ReceiveCallback(self, request: pb.ReceiveCallbackRequest, context: Context) -> pb.ReceiveCallbackResponse:
        kind = _KINDS.get(request.kind)
        if kind is None:
            raise CallbackKindInvalid(field="kind")
        callback_id, replayed = await callbacks.receive(
            self._postgres, self._clock, kind, request.raw_body, request.signature, self._secrets
        )
        return pb.ReceiveCallbackResponse(callback_id=str(callback_id), replayed=replayed)
