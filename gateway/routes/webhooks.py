"""Callbacks of the payment provider, passed on byte for byte: the gateway knows no secret of it."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from gateway.route import Access, Call, Limited, Raw, Route
from gateway.schemas.webhooks import Received
from protos.payout.v1 import webhooks_pb2 as pb

SIGNATURE = "x-nowpayments-sig"


def _passed_on(kind: pb.CallbackKind.ValueType) -> Callable[[Call[bytes, None]], Awaitable[Received]]:
    async def receive(call: Call[bytes, None]) -> Received:
        stored = await call.room.services.webhooks.ReceiveCallback(
            pb.ReceiveCallbackRequest(kind=kind, raw_body=call.body, signature=call.headers.get(SIGNATURE, ""))
        )
        return Received(callback_id=stored.callback_id, replayed=stored.replayed)

    return receive


def _route(what: str, kind: pb.CallbackKind.ValueType) -> Route:
    return Route(
        method="POST",
        path=f"/webhooks/nowpayments/{what}",
        name=f"receive{what.capitalize()}Callback",
        summary=f"The payment provider's callbacks about {what}, signed by it. For the provider alone.",
        tag="Webhooks",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=_passed_on(kind),
        body=Raw.WHOLE,
        headers=(SIGNATURE,),
        answers={HTTPStatus.OK: Received},
        problems={
            HTTPStatus.BAD_REQUEST: ("CALLBACK_INVALID",),
            HTTPStatus.UNAUTHORIZED: ("SIGNATURE_INVALID",),
        },
    )


ROUTES = (
    _route("payouts", pb.CALLBACK_KIND_PAYOUT),
    _route("payments", pb.CALLBACK_KIND_PAYMENT),
)
