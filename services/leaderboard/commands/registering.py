"""Who came by whom, and whether it counts: told in whatever order, as often as it may be."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.commands import applying
from services.leaderboard.model import Flag, Referee
from services.leaderboard.rules.tally import Tally
from services.leaderboard.store import referees, takebacks


async def register(connection: Connection, came: Sequence[Referee]) -> None:
    """Counts whoever was not known, unless a flag came before. Referees are locked first, then places."""
    once = {referee.referee_ref: referee for referee in reversed(came)}
    if not once:
        return
    tally = Tally()
    new = await referees.add(connection, once.values())
    for referee_ref, counts in new.items():
        tally.refer(once[referee_ref].referrer_ref, once[referee_ref].registered_at, counts=counts)
    await applying.apply(connection, tally)


async def flag(connection: Connection, flags: Mapping[UUID, Flag]) -> None:
    """Takes registrations out of what counts, or puts them back; an older revision than the known one changes nothing.

    What follows from a flag is worked out of the rows of those who count, under the locks of the places concerned.
    """
    known = await referees.lock(connection, sorted(flags))
    changed = [(flags[each.flag.referee_ref], each) for each in known]
    newer = [(told, before) for told, before in changed if told.revision > before.flag.revision]
    if not newer:
        return
    await referees.flag(connection, [told for told, _ in newer])
    back, out = Tally(), Tally()
    for told, before in newer:
        if before.referee is not None and told.flagged is not before.flag.flagged:
            (out if told.flagged else back).refer(before.referee.referrer_ref, before.referee.registered_at)
    await takebacks.lock(connection, [*back.rises(), *out.rises()])
    await applying.apply(connection, back)
    if falls := out.rises():
        await takebacks.lower(connection, falls)
        days = [(creator_ref, day) for creator_ref, some in out.referral_days().items() for day in sorted(some)]
        await takebacks.drop_days(connection, days)
