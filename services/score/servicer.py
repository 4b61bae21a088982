"""Door 1, gRPC. The protocol stands; behind it nothing is linked or rewarded yet, and every call is told so."""

from typing import Final

from libs.rpc.unserved import unserved
from protos.score.v1 import admin_pb2_grpc, score_pb2, score_pb2_grpc

_GATEWAY: Final = frozenset({"gateway"})

CALLERS: Final = dict.fromkeys(score_pb2.DESCRIPTOR.services_by_name["ScoreService"].methods_by_name, _GATEWAY) | {
    "GetWalletOwner": frozenset({"payout"}),
    "ListShortAddresses": frozenset({"leaderboard"}),
}
"""Who may call what of ScoreService, by the name in the caller's certificate."""
ADMIN_CALLERS: Final = _GATEWAY

scores = unserved(score_pb2_grpc.ScoreServiceServicer, "Wallets and score rewards are not open yet.")()
admin = unserved(admin_pb2_grpc.ScoreAdminServiceServicer, "Score imports and reward runs are not open yet.")()
