"""What becomes of payouts when referral's word about their creator changes."""

from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Connection
from services.payout.accounts import is_barred
from services.payout.model import Event, Stage
from services.payout.store import accounts, lists, payouts
from services.payout.store.payouts import With

_ENDED_BY = {
    Stage.REQUESTED: Event.CANCEL,
    Stage.AWAITING_CONFIRMATION: Event.CANCEL,
    Stage.AWAITING_APPROVAL: Event.CANCEL,
    Stage.QUEUED: Event.CANCEL,
    # Burned, but the provider will not send it: there is no other attempt.
    Stage.REJECTED: Event.FAIL,
}


async def apply(
    connection: Connection, clock: Clock, account_ref: UUID, standing: int, revision: int, changed_at: datetime
) -> int:
    """Keep a standing; a suspension ends what the provider does not have. Returns how many payouts that ended."""
    newer = await accounts.note_standing(connection, account_ref, standing, revision, changed_at)
    if not newer or not is_barred(standing):
        return 0
    ended = 0
    for seen in await lists.open_of(connection, account_ref):
        payout = await payouts.lock(connection, seen.payout_id)
        event = _ENDED_BY.get(payout.stage) if payout else None
        if payout and event:
            also = With("SUSPENDED")
            await payouts.move(connection, payout, event, clock.now(), actor="job:standing", also=also)
            ended += 1
    return ended
