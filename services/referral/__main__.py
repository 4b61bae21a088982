"""`python -m services.referral`."""

from pathlib import Path

from libs.service import App, run
from protos.referral.v1 import admin_pb2_grpc, referral_pb2_grpc, share_pb2_grpc
from services.referral import servicer
from services.referral.jobs import all_jobs
from services.referral.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of referral to its database."""
    settings = Settings.read()
    postgres = await app.open_postgres("referral", Path(__file__).parent / "migrations")
    app.serve(
        referral_pb2_grpc.add_ReferralServiceServicer_to_server,
        servicer.ReferralServicer(postgres, app.clock, settings),
        "creator.referral.v1.ReferralService",
        servicer.CALLERS,
        quiet=servicer.QUIET,
    )
    app.serve(
        admin_pb2_grpc.add_ReferralAdminServiceServicer_to_server,
        servicer.admin,
        "creator.referral.v1.ReferralAdminService",
        servicer.ADMIN_CALLERS,
    )
    app.serve(
        share_pb2_grpc.add_ShareServiceServicer_to_server,
        servicer.share,
        "creator.referral.v1.ShareService",
        servicer.SHARE_CALLERS,
    )
    app.relay(postgres)
    app.jobs(all_jobs(postgres, settings))


if __name__ == "__main__":
    run("referral", wire)
