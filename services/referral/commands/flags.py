"""Whether a registration counts where referrals are shown off: told in the transaction in which that changes."""

from datetime import datetime
from uuid import UUID

from libs import outbox
from libs.postgres import Connection
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2
from services.referral.rules.bonuses import REVERSING
from services.referral.store import flags


async def tell(connection: Connection, referee_ref: UUID, now: datetime, *, locked: bool = False) -> None:
    """Tells where it is not what was told before; called after whatever is held against a registration changed.

    `locked` where this transaction has just written the registration's assessment.
    """
    if not locked:
        await flags.lock(connection, referee_ref)
    flag = await flags.change(connection, referee_ref, REVERSING, now)
    if flag is None:
        return
    event = events_pb2.RegistrationFlagged(
        account_ref=str(flag.referee_ref),
        referrer_ref=str(flag.referrer_ref),
        flagged=flag.flagged,
        revision=flag.revision,
        changed_at=to_timestamp(now),
    )
    await outbox.append(connection, event, key=str(flag.referrer_ref), occurred_at=now)
