"""`python -m services.leaderboard`."""

from pathlib import Path

from libs import erasure
from libs.service import App, run
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.leaderboard.v1 import leaderboard_pb2_grpc
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.leaderboard import consumers, servicer
from services.leaderboard.addresses import ShortAddresses
from services.leaderboard.board import Board
from services.leaderboard.jobs import CatchingUp, Rebuilding, all_jobs
from services.leaderboard.settings import Settings


async def wire(app: App) -> None:
    """Ties the doors of leaderboard to its database and to Redis."""
    settings = Settings.read()
    postgres = await app.open_postgres("leaderboard", Path(__file__).parent / "migrations")
    board = Board(postgres, settings.redis_url, settings.board_cache_seconds)
    app.on_close(board.close)
    app.run(board.run, "boards")
    referral = ReferralServiceStub(app.channel("referral"))
    addresses = ShortAddresses(ScoreServiceStub(app.channel("score")))
    app.serve(
        leaderboard_pb2_grpc.add_LeaderboardServiceServicer_to_server,
        servicer.LeaderboardServicer(
            postgres, app.clock, board, referral, addresses, settings.pseudonym_key, settings.board_cache_seconds
        ),
        "creator.leaderboard.v1.LeaderboardService",
        servicer.CALLERS,
    )
    app.relay(postgres)
    subscriptions = consumers.subscriptions(
        EventLogServiceStub(app.channel("referral")), EventLogServiceStub(app.channel("distribution"))
    )
    app.consume([*subscriptions, consumers.erasures(EventLogServiceStub(app.channel("referral")))])
    app.jobs(all_jobs(postgres, settings.breakdown_grace))
    app.jobs([erasure.reporting(postgres, ReferralAdminServiceStub(app.channel("referral")))], "reports")
    app.run(Rebuilding(postgres, subscriptions, settings.catching_up_poll_seconds).run, "rebuilding")
    logs = {subscription.topic.name: subscription.log for subscription in subscriptions}
    app.run(CatchingUp(postgres, app.clock, logs, settings.catching_up_poll_seconds).run, "catching up")


if __name__ == "__main__":
    run("leaderboard", wire)
