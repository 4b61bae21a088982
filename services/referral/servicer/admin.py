"""creator.referral.v1.ReferralAdminService: referral for operators, mixed from a part per noun."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from protos.referral.v1 import admin_pb2, admin_pb2_grpc
from services.referral.commands.erasure import Erasing
from services.referral.servicer.audit import AuditLog
from services.referral.servicer.codes import Codes
from services.referral.servicer.erasure import Erasures
from services.referral.servicer.explainer import Explainer
from services.referral.servicer.figures import Figures
from services.referral.servicer.review import Reviews
from services.referral.servicer.risk import Risk
from services.referral.servicer.standings import Standings
from services.referral.settings import Settings

_OPERATORS: Final = frozenset({"gateway"})
_SERVICES: Final = frozenset({"distribution", "payout", "score", "leaderboard"})

CALLERS: Final = dict.fromkeys(
    admin_pb2.DESCRIPTOR.services_by_name["ReferralAdminService"].methods_by_name, _OPERATORS
) | {"ReportErasure": _SERVICES}
"""Who may call what, by the name in the caller's certificate."""


class ReferralAdminServicer(
    AuditLog,
    Codes,
    Erasures,
    Explainer,
    Figures,
    Reviews,
    Risk,
    Standings,
    admin_pb2_grpc.ReferralAdminServiceServicer,
):
    """creator.referral.v1.ReferralAdminService."""

    def __init__(self, postgres: Postgres, clock: Clock, settings: Settings, erasing: Erasing | None = None) -> None:
        """Without `erasing` no erasure is taken down."""
        self._postgres = postgres
        self._erasing = erasing
        self._clock = clock
        self._settings = settings
