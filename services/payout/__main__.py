"""`python -m services.payout`."""

from pathlib import Path

from libs.service import App, run
from protos.payout.v1 import admin_pb2_grpc, payout_pb2_grpc, webhooks_pb2_grpc
from services.payout import servicer


async def wire(app: App) -> None:
    """Ties the doors of payout to its database."""
    postgres = await app.open_postgres("payout", Path(__file__).parent / "migrations")
    app.serve(
        payout_pb2_grpc.add_PayoutServiceServicer_to_server,
        servicer.payouts,
        "creator.payout.v1.PayoutService",
        servicer.CALLERS,
    )
    app.serve(
        admin_pb2_grpc.add_PayoutAdminServiceServicer_to_server,
        servicer.admin,
        "creator.payout.v1.PayoutAdminService",
        servicer.ADMIN_CALLERS,
    )
    app.serve(
        webhooks_pb2_grpc.add_WebhookServiceServicer_to_server,
        servicer.webhooks,
        "creator.payout.v1.WebhookService",
        servicer.WEBHOOK_CALLERS,
    )
    app.relay(postgres)


if __name__ == "__main__":
    run("payout", wire)
