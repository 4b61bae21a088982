"""What a batch of events adds, written in one go within the transaction that advances the inbox."""

from libs.postgres import Connection
from services.leaderboard.rules.shares import Shares
from services.leaderboard.rules.tally import Tally
from services.leaderboard.store import earnings, places


async def apply(connection: Connection, tally: Tally) -> None:
    """Tables in one order and rows in the order of their keys: two batches never wait for each other crosswise."""
    if rises := tally.rises():
        await places.raise_places(connection, rises)
    if days := tally.referral_days():
        await places.add_referral_days(connection, days)
    if reversals := tally.reversals():
        await earnings.add_reversals(connection, reversals)


async def apply_shares(connection: Connection, shares: Shares) -> None:
    """The same of charges."""
    if len(shares):
        await earnings.add(connection, shares)
