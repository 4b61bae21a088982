"""`python -m services.referral`."""

from pathlib import Path

from libs.service import App, run
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.payout.v1.payout_pb2_grpc import PayoutServiceStub
from protos.referral.v1 import admin_pb2_grpc, referral_pb2_grpc, share_pb2_grpc
from services.referral.commands.budgets import Budgets
from services.referral.commands.enforcing import Enforcing
from services.referral.commands.erasure import Erasing
from services.referral.commands.granting import Granting
from services.referral.consumers import address_subscriptions, subscriptions
from services.referral.jobs import all_jobs, bonus_jobs, erasure_jobs, risk_jobs, standing_jobs
from services.referral.servicer import admin, referral, share
from services.referral.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of referral to its database."""
    settings = Settings.read()
    postgres = await app.open_postgres("referral", Path(__file__).parent / "migrations")
    campaigns = CampaignsServiceStub(app.channel("distribution"))
    budgets = Budgets(postgres, app.clock, campaigns)
    erasing = Erasing(
        postgres,
        app.clock,
        PayoutServiceStub(app.channel("payout")),
        LedgerServiceStub(app.channel("distribution")),
        TreasuryServiceStub(app.channel("distribution")),
        settings.request_key,
    )
    app.serve(
        referral_pb2_grpc.add_ReferralServiceServicer_to_server,
        referral.ReferralServicer(postgres, app.clock, settings, budgets),
        "creator.referral.v1.ReferralService",
        referral.CALLERS,
        quiet=referral.QUIET,
    )
    app.serve(
        admin_pb2_grpc.add_ReferralAdminServiceServicer_to_server,
        admin.ReferralAdminServicer(postgres, app.clock, settings, erasing),
        "creator.referral.v1.ReferralAdminService",
        admin.CALLERS,
    )
    app.serve(
        share_pb2_grpc.add_ShareServiceServicer_to_server,
        share.ShareServicer(postgres, app.clock, settings),
        "creator.referral.v1.ShareService",
        share.CALLERS,
    )
    app.relay(postgres)
    logs = {name: EventLogServiceStub(app.channel(name)) for name in ("distribution", "score", "payout")}
    app.consume(
        [
            *subscriptions(app.clock, settings.bonus_terms, logs["distribution"]),
            *address_subscriptions(app.clock, logs["score"], logs["payout"]),
        ]
    )
    app.jobs([*all_jobs(postgres, settings), *risk_jobs(postgres, app.clock, settings)])
    treasury = TreasuryServiceStub(app.channel("distribution"))
    app.jobs(standing_jobs(Enforcing(postgres, app.clock, treasury), settings), "standings")
    app.jobs(bonus_jobs(budgets, Granting(postgres, app.clock, campaigns), settings), "bonuses")
    app.jobs(erasure_jobs(erasing, settings), "erasures")


if __name__ == "__main__":
    run("referral", wire)
