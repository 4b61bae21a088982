"""`python -m services.payout`."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from libs import erasure
from libs.service import App, run
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.payout.v1 import admin_pb2_grpc, payout_pb2_grpc, webhooks_pb2_grpc
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.payout.accounts import Accounts
from services.payout.commands.advancing import Advancing
from services.payout.commands.callbacks import Applying
from services.payout.commands.handover import Handover
from services.payout.commands.opening import Opening
from services.payout.commands.pricing import Pricing
from services.payout.commands.reconciling import Reconciling
from services.payout.commands.requesting import Requesting
from services.payout.consumers import erasures, standings
from services.payout.jobs import callback_jobs, ledger_jobs, price_jobs, provider_jobs, reconciliation_jobs
from services.payout.ledger import Ledger
from services.payout.provider import client
from services.payout.provider.client import Client
from services.payout.provider.settings import ProviderSettings
from services.payout.screening import Screening
from services.payout.servicer import admin, payout, webhooks
from services.payout.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of payout to its database, to referral, distribution and the provider."""
    settings, reaching = Settings.read(), ProviderSettings.read()
    postgres = await app.open_postgres("payout", Path(__file__).parent / "migrations")
    provider = await _provider(app, reaching)
    _serve_payouts(app, settings, provider)
    app.serve(
        webhooks_pb2_grpc.add_WebhookServiceServicer_to_server,
        webhooks.WebhookServicer(postgres, app.clock, reaching.ipn_secrets),
        "creator.payout.v1.WebhookService",
        webhooks.CALLERS,
    )
    app.relay(postgres)
    referral = app.channel("referral")
    log = EventLogServiceStub(referral)
    app.consume([standings(log, app.clock), erasures(log)])
    app.jobs([erasure.reporting(postgres, ReferralAdminServiceStub(referral))], "erasures")
    _follow_provider(app, reaching, provider)


def _serve_payouts(app: App, settings: Settings, provider: Client) -> None:
    """What owners and operators ask, and what takes payouts on towards the ledger."""
    postgres, clock = app.postgres, app.clock
    accounts = Accounts(postgres, ReferralServiceStub(app.channel("referral")))
    ledger = Ledger(TreasuryServiceStub(app.channel("distribution")))
    screening = Screening(settings.screening_file)
    advancing = Advancing(postgres, clock, ledger, accounts, screening, settings.terms)
    pricing = Pricing(postgres, clock, provider, settings.currencies, max_age=settings.price_max_age)
    opening = Opening(postgres, clock, settings, accounts, pricing, screening)
    requesting = Requesting(postgres, opening, advancing)
    score = ScoreServiceStub(app.channel("score"))
    app.serve(
        payout_pb2_grpc.add_PayoutServiceServicer_to_server,
        payout.PayoutServicer(postgres, clock, settings, accounts, pricing, requesting, advancing, score),
        "creator.payout.v1.PayoutService",
        payout.CALLERS,
    )
    app.serve(
        admin_pb2_grpc.add_PayoutAdminServiceServicer_to_server,
        admin.PayoutAdminServicer(postgres, clock, settings, accounts, advancing, provider),
        "creator.payout.v1.PayoutAdminService",
        admin.CALLERS,
    )
    app.jobs(ledger_jobs(advancing), "ledger")
    app.jobs(price_jobs(pricing, timedelta(seconds=settings.price_every_seconds)), "prices")


def _follow_provider(app: App, settings: ProviderSettings, provider: Client) -> None:
    """What asks the provider; each kind has its leader, so that none waits for another."""
    postgres, clock, paid_by = app.postgres, app.clock, settings.nowpayments_fee_paid_by
    ledger = TreasuryServiceStub(app.channel("distribution"))
    payments = PaymentsServiceStub(app.channel("distribution"))
    handover = Handover(postgres, clock, provider, fee_paid_by=paid_by, enabled=settings.payouts_enabled)
    app.jobs(provider_jobs(postgres, clock, handover), "provider")
    app.jobs(
        callback_jobs(postgres, clock, Applying(postgres, clock, provider, payments, fee_paid_by=paid_by)), "callbacks"
    )
    app.jobs(reconciliation_jobs(Reconciling(postgres, clock, provider, ledger)), "reconciliation")


async def _provider(app: App, settings: ProviderSettings) -> Client:
    session = AsyncExitStack()
    app.on_close(session.aclose)
    return await session.enter_async_context(
        client.opened(
            settings.access,
            app.clock,
            per_second=settings.nowpayments_calls_per_second,
            timeout_seconds=settings.nowpayments_timeout_seconds,
        )
    )


if __name__ == "__main__":
    run("payout", wire)
