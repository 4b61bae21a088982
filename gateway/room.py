"""What the handlers work with."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc.aio

from gateway.readiness import Dependencies
from gateway.tokens import Minter
from libs.clock import MovableClock
from protos.distribution.v1.audit_pb2_grpc import AuditServiceStub
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.distribution.v1.documents_pb2_grpc import DocumentsServiceStub
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from protos.distribution.v1.rules_pb2_grpc import RulesServiceStub
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.leaderboard.v1.leaderboard_pb2_grpc import LeaderboardServiceStub
from protos.payout.v1.admin_pb2_grpc import PayoutAdminServiceStub
from protos.payout.v1.payout_pb2_grpc import PayoutServiceStub
from protos.payout.v1.webhooks_pb2_grpc import WebhookServiceStub
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from protos.referral.v1.share_pb2_grpc import ShareServiceStub
from protos.score.v1.admin_pb2_grpc import ScoreAdminServiceStub
from protos.score.v1.score_pb2_grpc import ScoreServiceStub


@dataclass(frozen=True)
class Services:
    """One stub for each gRPC service that a route asks."""

    referral: ReferralServiceStub
    referral_admin: ReferralAdminServiceStub
    share: ShareServiceStub
    ledger: LedgerServiceStub
    rules: RulesServiceStub
    campaigns: CampaignsServiceStub
    treasury: TreasuryServiceStub
    payments: PaymentsServiceStub
    documents: DocumentsServiceStub
    audit: AuditServiceStub
    payout: PayoutServiceStub
    payout_admin: PayoutAdminServiceStub
    webhooks: WebhookServiceStub
    score: ScoreServiceStub
    score_admin: ScoreAdminServiceStub
    leaderboard: LeaderboardServiceStub

    @classmethod
    def over(cls, channels: Mapping[str, grpc.aio.Channel]) -> "Services":
        """The stubs of these channels, by the services' names."""
        referral, distribution = channels["referral"], channels["distribution"]
        payout, score = channels["payout"], channels["score"]
        return cls(
            referral=ReferralServiceStub(referral),
            referral_admin=ReferralAdminServiceStub(referral),
            share=ShareServiceStub(referral),
            ledger=LedgerServiceStub(distribution),
            rules=RulesServiceStub(distribution),
            campaigns=CampaignsServiceStub(distribution),
            treasury=TreasuryServiceStub(distribution),
            payments=PaymentsServiceStub(distribution),
            documents=DocumentsServiceStub(distribution),
            audit=AuditServiceStub(distribution),
            payout=PayoutServiceStub(payout),
            payout_admin=PayoutAdminServiceStub(payout),
            webhooks=WebhookServiceStub(payout),
            score=ScoreServiceStub(score),
            score_admin=ScoreAdminServiceStub(score),
            leaderboard=LeaderboardServiceStub(channels["leaderboard"]),
        )


@dataclass(frozen=True)
class TestMode:
    """What is there in test mode alone."""

    __test__ = False

    minter: Minter
    clock: MovableClock


@dataclass(frozen=True)
class Room:
    """Handed to every handler; nothing in it is changed by a request."""

    services: Services
    dependencies: Dependencies
    pages: Mapping[str, bytes]
    """Documents made at start, by path."""
    test_mode: TestMode | None = None
