"""Attribution and surrogates as the other services ask for them, many at a time."""

from collections.abc import Sequence
from uuid import UUID

from libs import outbox
from libs.clock import Clock
from libs.postgres import Postgres, retried
from libs.refusals import Aborted
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2
from services.referral import metrics
from services.referral.model import Attribution
from services.referral.store import accounts, registrations


class AttributionContended(Aborted):
    """An account changed while it was being resolved; ask again."""


async def resolve_attribution(postgres: Postgres, clock: Clock, account_ids: Sequence[str]) -> list[Attribution]:
    """Who brought each account, in the order asked (the ids are distinct); an undecided one is locked organic.

    One round trip when all are decided, which is the usual case on the way of a charge.
    """
    async with postgres.connection() as connection:
        decided = {each.account_id: each for each in await registrations.find_attributions(connection, account_ids)}
    undecided = sorted(set(account_ids) - decided.keys())
    if undecided:
        decided |= await _lock_organic(postgres, clock, undecided)
    return [decided[account_id] for account_id in account_ids]


@retried
async def resolve_accounts(postgres: Postgres, account_ids: Sequence[str], *, existing_only: bool) -> dict[str, UUID]:
    """Surrogates by id, in the order asked; made where missing, unless only existing ones are asked for."""
    async with postgres.connection() as connection:
        known = await accounts.find_many(connection, account_ids)
    missing = [] if existing_only else [account_id for account_id in account_ids if account_id not in known]
    if missing:
        async with postgres.transaction() as connection:
            await accounts.make_missing(connection, missing)
            known |= await accounts.find_many(connection, missing)
    return {account_id: known[account_id] for account_id in account_ids if account_id in known}


@retried
async def _lock_organic(postgres: Postgres, clock: Clock, account_ids: Sequence[str]) -> dict[str, Attribution]:
    async with postgres.transaction() as connection:
        await accounts.make_missing(connection, account_ids)
        now = clock.now()
        locked = await registrations.lock_organic(connection, account_ids, now)
        decided = {each.account_id: each for each in locked}
        # The rest were decided by others since they were looked up; their transactions are over by now.
        others = [account_id for account_id in account_ids if account_id not in decided]
        if others:
            decided |= {each.account_id: each for each in await registrations.find_attributions(connection, others)}
        if len(decided) < len(account_ids):
            raise AttributionContended
        events = [outbox.Entry(_event(each), str(each.account_ref)) for each in locked]
        await outbox.append_many(connection, events, occurred_at=now)
    metrics.locked_organic(len(locked))
    return decided


def _event(attribution: Attribution) -> events_pb2.Registration:
    return events_pb2.Registration(
        account_ref=str(attribution.account_ref), registered_at=to_timestamp(attribution.registered_at)
    )
