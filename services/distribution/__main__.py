"""`python -m services.distribution`."""

from pathlib import Path

from libs import erasure
from libs.postgres import Postgres
from libs.service import App, run
from protos.distribution.v1 import (
    audit_pb2_grpc,
    campaigns_pb2_grpc,
    distribution_pb2_grpc,
    documents_pb2_grpc,
    ledger_pb2_grpc,
    payments_pb2_grpc,
    rules_pb2_grpc,
    treasury_pb2_grpc,
)
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1 import referral_pb2_grpc
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from services.distribution.attribution import AccountRefs, Attributions
from services.distribution.commands.audit import Auditor
from services.distribution.commands.finalize import Finalizer
from services.distribution.commands.ingestion import Ingestion
from services.distribution.consumers import ChargesConsumer, subscriptions
from services.distribution.jobs import all_jobs
from services.distribution.servicer import audit, campaigns, distribution, documents, ledger, payments, rules, treasury
from services.distribution.settings import Settings
from services.distribution.writer.group import GroupWriter


async def wire(app: App) -> None:
    """Tie the doors of distribution to its database, and to referral."""
    settings = Settings.read()
    postgres = await app.open_postgres("distribution", Path(__file__).parent / "migrations")
    referral = referral_pb2_grpc.ReferralServiceStub(app.channel("referral"))
    _serve_charges(app, postgres, referral, settings)
    _serve_books(app, postgres, referral, settings)
    _serve_oversight(app, postgres, settings)
    app.relay(postgres)
    app.consume(subscriptions(EventLogServiceStub(app.channel("referral"))))
    app.jobs(all_jobs(postgres, app.clock, settings))
    app.jobs([erasure.reporting(postgres, ReferralAdminServiceStub(app.channel("referral")))], "reports")
    app.run(Auditor(postgres, app.clock).run, "auditor")


def _serve_charges(
    app: App, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub, settings: Settings
) -> None:
    """The hot path: finalizing, and who brought a payer."""
    attributions = Attributions(postgres, referral, settings)
    writer = GroupWriter(postgres, app.clock, settings)
    finalizer = Finalizer(app.clock, attributions, writer, settings)
    app.serve(
        distribution_pb2_grpc.add_DistributionServiceServicer_to_server,
        distribution.DistributionServicer(postgres, finalizer, settings),
        "creator.distribution.v1.DistributionService",
        distribution.CALLERS,
        quiet=distribution.QUIET,
    )
    app.run(attributions.run, "attribution")
    app.run(attributions.forget_erased, "erasures")
    app.run(writer.run, "writer")
    ingestion = Ingestion(postgres, app.clock, finalizer)
    charges = ChargesConsumer(ingestion, app.settings.kafka_bootstrap, replication=app.settings.kafka_replication)
    app.run(charges.run, "charges")


def _serve_books(
    app: App, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub, settings: Settings
) -> None:
    """Everything else that moves money, or tells of it."""
    app.serve(
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
        ledger.LedgerServicer(
            postgres, app.clock, referral, settlement_delay=settings.settlement_delay, hold=settings.earnings_hold
        ),
        "creator.distribution.v1.LedgerService",
        ledger.CALLERS,
    )
    app.serve(
        payments_pb2_grpc.add_PaymentsServiceServicer_to_server,
        payments.PaymentsServicer(postgres, app.clock, AccountRefs(postgres, referral)),
        "creator.distribution.v1.PaymentsService",
        payments.CALLERS,
    )
    app.serve(
        campaigns_pb2_grpc.add_CampaignsServiceServicer_to_server,
        campaigns.CampaignsServicer(
            postgres, app.clock, AccountRefs(postgres, referral), funding_bps=settings.score_pool_funding_bps
        ),
        "creator.distribution.v1.CampaignsService",
        campaigns.CALLERS,
        quiet=campaigns.QUIET,
    )
    app.serve(
        treasury_pb2_grpc.add_TreasuryServiceServicer_to_server,
        treasury.TreasuryServicer(postgres, app.clock, payouts_enabled=settings.payouts_enabled),
        "creator.distribution.v1.TreasuryService",
        treasury.CALLERS,
    )


def _serve_oversight(app: App, postgres: Postgres, settings: Settings) -> None:
    """Who may change what, whether the books are right, and what partners are told of them."""
    app.serve(
        rules_pb2_grpc.add_RulesServiceServicer_to_server,
        rules.RulesServicer(postgres, app.clock, cooling=settings.rule_cooling),
        "creator.distribution.v1.RulesService",
        rules.CALLERS,
    )
    app.serve(
        audit_pb2_grpc.add_AuditServiceServicer_to_server,
        audit.AuditServicer(postgres, app.clock),
        "creator.distribution.v1.AuditService",
        audit.CALLERS,
    )
    app.serve(
        documents_pb2_grpc.add_DocumentsServiceServicer_to_server,
        documents.DocumentsServicer(postgres),
        "creator.distribution.v1.DocumentsService",
        documents.CALLERS,
    )


if __name__ == "__main__":
    run("distribution", wire)
