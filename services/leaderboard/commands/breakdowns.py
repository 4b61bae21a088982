"""Publishing a closed day: chosen once what is shown of it, and then who brought what is forgotten."""

from datetime import date, timedelta
from uuid import UUID

from libs.postgres import Connection, Postgres, retried
from services.leaderboard import metrics
from services.leaderboard.rules import breakdowns as rules
from services.leaderboard.rules.windows import last_closed
from services.leaderboard.store import breakdowns, progress

_CREATORS = 500
_NOBODY = UUID(int=0)


async def publish(postgres: Postgres, grace: timedelta) -> None:
    """Publishes every day that was over, so long ago, when everything was last known to be applied."""
    async with postgres.connection() as connection:
        caught_up_at = await progress.caught_up_at(connection)
        through = await breakdowns.published_through(connection)
    closed = last_closed(caught_up_at, grace)
    if closed is None or (through is not None and through >= closed):
        return
    while await _publish_next(postgres, closed):
        metrics.PUBLISHED_DAYS.inc()


@retried
async def _publish_next(postgres: Postgres, closed: date) -> bool:
    """Publishes the next day with anything in it up to a day, or, where nothing is left, that day; True for more."""
    async with postgres.transaction() as connection:
        through = await breakdowns.lock_published_through(connection)
        if through is not None and through >= closed:
            return False
        day = await breakdowns.first_open_day(connection, through)
        if day is not None and day <= closed:
            await _publish_day(connection, day)
            await breakdowns.mark_published(connection, day)
            return True
        await breakdowns.mark_published(connection, closed)
        return False


async def _publish_day(connection: Connection, day: date) -> None:
    after = _NOBODY
    while creator_refs := await breakdowns.creators_of(connection, day, after, _CREATORS):
        found = await breakdowns.contributions(connection, day, creator_refs)
        shown = [
            (creator_ref, dimension, part)
            for creator_ref in creator_refs
            for dimension, parts in rules.shown(found[creator_ref]).items()
            for part in parts
        ]
        await breakdowns.show(connection, day, shown)
        after = creator_refs[-1]
