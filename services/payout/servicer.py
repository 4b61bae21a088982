"""Door 1, gRPC. The protocol stands; behind it nothing pays anybody yet, and every call is told so."""

from typing import Final

from libs.rpc.unserved import unserved
from protos.payout.v1 import admin_pb2_grpc, payout_pb2, payout_pb2_grpc, webhooks_pb2_grpc

_GATEWAY: Final = frozenset({"gateway"})

CALLERS: Final = dict.fromkeys(payout_pb2.DESCRIPTOR.services_by_name["PayoutService"].methods_by_name, _GATEWAY) | {
    "HasOpenPayouts": frozenset({"referral"})
}
"""Who may call what of PayoutService, by the name in the caller's certificate."""
ADMIN_CALLERS: Final = _GATEWAY
WEBHOOK_CALLERS: Final = _GATEWAY

payouts = unserved(payout_pb2_grpc.PayoutServiceServicer, "Payouts are not open yet; earnings go on accruing.")()
admin = unserved(admin_pb2_grpc.PayoutAdminServiceServicer, "Payouts are not open yet; there is nothing to operate.")()
webhooks = unserved(
    webhooks_pb2_grpc.WebhookServiceServicer, "Callbacks are not taken yet; nothing of this one was stored."
)()
