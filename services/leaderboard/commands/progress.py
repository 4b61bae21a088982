"""How far the boards know."""

from datetime import datetime

from libs.postgres import Postgres
from services.leaderboard.store import progress


async def mark_caught_up(postgres: Postgres, instant: datetime) -> None:
    """What was published by an instant is applied."""
    async with postgres.transaction() as connection:
        await progress.mark_caught_up(connection, instant)
