"""`python -m services.payout`."""

from contextlib import AsyncExitStack
from pathlib import Path

from libs.rpc.unserved import unserved
from libs.service import App, run
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.payout.v1 import admin_pb2_grpc, payout_pb2_grpc, webhooks_pb2_grpc
from services.payout.commands.callbacks import Applying
from services.payout.commands.handover import Handover
from services.payout.commands.reconciling import Reconciling
from services.payout.jobs import callback_jobs, provider_jobs, reconciliation_jobs
from services.payout.provider import client
from services.payout.provider.client import Client
from services.payout.provider.settings import ProviderSettings
from services.payout.servicer import admin, payout, webhooks


async def wire(app: App) -> None:
    """Ties the doors of payout to its database."""
    settings = ProviderSettings.read()
    postgres = await app.open_postgres("payout", Path(__file__).parent / "migrations")
    provider = await _provider(app, settings)
    app.serve(
        payout_pb2_grpc.add_PayoutServiceServicer_to_server,
        unserved(payout_pb2_grpc.PayoutServiceServicer, "Payouts are not open yet; earnings go on accruing.")(),
        "creator.payout.v1.PayoutService",
        payout.CALLERS,
    )
    app.serve(
        admin_pb2_grpc.add_PayoutAdminServiceServicer_to_server,
        unserved(admin.PayoutAdminServicer, "Not served yet; nothing was changed.")(
            postgres, app.clock, provider, payouts_enabled=settings.payouts_enabled
        ),
        "creator.payout.v1.PayoutAdminService",
        admin.CALLERS,
    )
    app.serve(
        webhooks_pb2_grpc.add_WebhookServiceServicer_to_server,
        webhooks.WebhookServicer(postgres, app.clock, settings.ipn_secrets),
        "creator.payout.v1.WebhookService",
        webhooks.CALLERS,
    )
    app.relay(postgres)
    _follow_provider(app, settings, provider)


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
    app.jobs(reconciliation_jobs(clock, Reconciling(postgres, clock, provider, ledger)), "reconciliation")


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
