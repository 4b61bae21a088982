"""Door 1, gRPC: unpack, command, pack."""

from typing import Final

from protos.score.v1 import score_pb2
from services.score.servicer.imports import Imports
from services.score.servicer.rewards import Rewards
from services.score.servicer.runs import Runs
from services.score.servicer.wallets import Wallets

_GATEWAY: Final = frozenset({"gateway"})

CALLERS: Final = dict.fromkeys(score_pb2.DESCRIPTOR.services_by_name["ScoreService"].methods_by_name, _GATEWAY) | {
    "GetWalletOwner": frozenset({"payout", "referral"}),
    "ListShortAddresses": frozenset({"leaderboard"}),
}
"""Who may call what of ScoreService, by the name in the caller's certificate."""
ADMIN_CALLERS: Final = _GATEWAY


class ScoreServicer(Wallets, Rewards):
    """creator.score.v1.ScoreService."""


class ScoreAdminServicer(Imports, Runs):
    """creator.score.v1.ScoreAdminService."""
