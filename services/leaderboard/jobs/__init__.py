"""Door 3, time: in the background, for as long as the process lives, or by one replica when a period has passed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.jobs import Job
from libs.postgres import Postgres
from services.leaderboard.commands import breakdowns
from services.leaderboard.jobs.catching_up import CatchingUp
from services.leaderboard.jobs.rebuilding import Rebuilding

__all__ = ["CatchingUp", "Rebuilding", "all_jobs"]


def all_jobs(postgres: Postgres, grace: timedelta) -> Sequence[Job]:
    """Every job of leaderboard."""

    async def publish_breakdowns(_now: datetime) -> None:
        await breakdowns.publish(postgres, grace)

    # Often: a day may be over long before it is known that everything of it is applied, and no clock tells when.
    return [Job("publish_breakdowns", timedelta(seconds=10), publish_breakdowns, sweeps=True)]
