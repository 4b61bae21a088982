"""`python -m services.referral`."""

from pathlib import Path

from libs.service import App, run
from protos.referral.v1 import referral_pb2_grpc
from services.referral.jobs import all_jobs
from services.referral.servicer import CALLERS, ReferralServicer
from services.referral.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of referral to its database."""
    settings = Settings.read()
    postgres = await app.open_postgres("referral", Path(__file__).parent / "migrations")
    app.serve(
        referral_pb2_grpc.add_ReferralServiceServicer_to_server,
        ReferralServicer(postgres, app.clock, settings),
        "creator.referral.v1.ReferralService",
        CALLERS,
    )
    app.relay(postgres)
    app.jobs(all_jobs(postgres, settings))


if __name__ == "__main__":
    run("referral", wire)
