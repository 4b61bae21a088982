"""Forgetting an account: its rows on boards stay, and are nobody's."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.store import profiles


async def erase(connection: Connection, account_ref: UUID, _erased_at: datetime) -> int:
    """Deletes an account's id and the name it showed; from then on its pseudonym leads to nobody."""
    return await profiles.erase(connection, account_ref)
