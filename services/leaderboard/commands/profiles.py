"""A creator decides what others see."""

from dataclasses import replace
from uuid import UUID

from libs import outbox
from libs.clock import Clock
from libs.postgres import Postgres, retried
from libs.timestamps import to_timestamp
from protos.leaderboard.v1 import events_pb2
from services.leaderboard.model import Profile
from services.leaderboard.store import profiles


@retried
async def set_profile(postgres: Postgres, clock: Clock, account_ref: UUID, display_name: str) -> Profile:
    """Shows a name, or none for an empty one; the same again changes nothing."""
    async with postgres.transaction() as connection:
        known = await profiles.lock(connection, account_ref)
        if known.display_name == display_name:
            return known
        now = clock.now()
        changed = replace(known, display_name=display_name, revision=known.revision + 1, updated_at=now)
        await profiles.save(connection, changed, now)
        event = events_pb2.ProfileChanged(
            account_ref=str(account_ref),
            named=bool(display_name),
            revision=changed.revision,
            changed_at=to_timestamp(now),
        )
        await outbox.append(connection, event, key=str(account_ref), occurred_at=now)
        return changed


async def keep_ref(postgres: Postgres, account_id: str, account_ref: UUID) -> None:
    """Remembers the surrogate that referral gave an account."""
    async with postgres.transaction() as connection:
        await profiles.keep_ref(connection, account_id, account_ref)
