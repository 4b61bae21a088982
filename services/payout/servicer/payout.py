"""creator.payout.v1.PayoutService: who may call it."""

from typing import Final

from protos.payout.v1 import payout_pb2

_GATEWAY: Final = frozenset({"gateway"})

CALLERS: Final = dict.fromkeys(payout_pb2.DESCRIPTOR.services_by_name["PayoutService"].methods_by_name, _GATEWAY) | {
    "HasOpenPayouts": frozenset({"referral"})
}
"""Who may call what of PayoutService, by the name in the caller's certificate."""
