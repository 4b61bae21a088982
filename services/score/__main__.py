"""`python -m services.score`."""

from pathlib import Path

from libs import erasure
from libs.service import App, run
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from protos.score.v1 import admin_pb2_grpc, score_pb2_grpc
from services.score import servicer
from services.score.accounts import AccountRefs
from services.score.commands.advancing import Advancing
from services.score.commands.schedule import Schedule
from services.score.consumers import erasures
from services.score.contracts import Contracts
from services.score.jobs import AdvancingRuns, all_jobs
from services.score.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of score to its database, to referral and to distribution."""
    settings = Settings.read()
    postgres = await app.open_postgres("score", Path(__file__).parent / "migrations")
    referral, campaigns = app.channel("referral"), CampaignsServiceStub(app.channel("distribution"))
    contracts = Contracts(settings.endpoints, settings.chain_timeout_seconds)
    app.on_close(contracts.close)
    advancing = Advancing(postgres, app.clock, campaigns)
    app.serve(
        score_pb2_grpc.add_ScoreServiceServicer_to_server,
        servicer.ScoreServicer(
            postgres, app.clock, settings, AccountRefs(postgres, ReferralServiceStub(referral)), contracts
        ),
        "creator.score.v1.ScoreService",
        servicer.CALLERS,
    )
    app.serve(
        admin_pb2_grpc.add_ScoreAdminServiceServicer_to_server,
        servicer.ScoreAdminServicer(postgres, app.clock, settings, advancing),
        "creator.score.v1.ScoreAdminService",
        servicer.ADMIN_CALLERS,
    )
    app.relay(postgres)
    app.consume([erasures(EventLogServiceStub(referral))])
    schedule = Schedule(postgres, app.clock, campaigns, settings)
    app.run(AdvancingRuns(postgres, advancing, schedule, settings).run, "runs")
    app.jobs(
        [
            *all_jobs(postgres, app.clock, schedule, settings),
            erasure.reporting(postgres, ReferralAdminServiceStub(referral)),
        ]
    )


if __name__ == "__main__":
    run("score", wire)
