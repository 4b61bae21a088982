"""`python -m services.distribution`."""

from pathlib import Path

from libs.rpc.unserved import unserved
from libs.service import App, run
from protos.distribution.v1 import distribution_pb2_grpc, ledger_pb2_grpc
from protos.referral.v1 import referral_pb2_grpc
from services.distribution.attribution import Attributions
from services.distribution.commands.finalize import Finalizer
from services.distribution.jobs import all_jobs
from services.distribution.servicer import distribution, ledger
from services.distribution.settings import Settings
from services.distribution.writer.group import GroupWriter


async def wire(app: App) -> None:
    """Tie the doors of distribution to its database, and to referral."""
    settings = Settings.read()
    postgres = await app.open_postgres("distribution", Path(__file__).parent / "migrations")
    referral = referral_pb2_grpc.ReferralServiceStub(app.channel("referral"))
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
    app.serve(
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
        unserved(ledger.LedgerServicer, "This read comes with a later version.")(
            postgres, app.clock, referral, settlement_delay=settings.settlement_delay, hold=settings.earnings_hold
        ),
        "creator.distribution.v1.LedgerService",
        ledger.CALLERS,
    )
    app.relay(postgres)
    app.jobs(all_jobs(postgres, settings))
    app.run(attributions.run, "attribution")
    app.run(writer.run, "writer")


if __name__ == "__main__":
    run("distribution", wire)
