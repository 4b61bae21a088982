"""What a batch of events adds, written in one go within the transaction that advances the inbox."""

from libs.postgres import Connection
from services.leaderboard.rules.tally import Tally
from services.leaderboard.store import breakdowns, earnings, places


async def apply(connection: Connection, tally: Tally) -> None:
    """Tables in one order and rows in the order of their keys: two batches never wait for each other crosswise."""
    if rises := tally.rises():
        await places.raise_places(connection, rises)
    if days := tally.referral_days():
        await places.add_referral_days(connection, days)
    if accruals := tally.accruals():
        await earnings.add(connection, accruals)
        if parts := tally.open_parts(await breakdowns.published_through(connection)):
            await breakdowns.add_open(connection, parts)
    if reversals := tally.reversals():
        await earnings.add_reversals(connection, reversals)
