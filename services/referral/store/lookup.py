"""What is known of one account, by its id or its surrogate."""

import uuid
from datetime import datetime

from libs.postgres import Connection
from services.referral.model.lookup import Known
from services.referral.store import accounts, codes, exemptions, registrations, risk, standings

_CODES_MAX = 50


async def by_id(connection: Connection, account_id: str, now: datetime) -> Known | None:
    """None where referral never heard of it, or forgot it."""
    account_ref = await accounts.find(connection, account_id)
    return await _known(connection, account_id, account_ref, now) if account_ref else None


async def by_ref(connection: Connection, account_ref: uuid.UUID, now: datetime) -> Known | None:
    """None where nothing has this surrogate; an erased account is known by what it left."""
    account_id: str | None = await connection.fetchval(
        "SELECT account_id FROM accounts WHERE account_ref = $1", account_ref
    )
    known = await _known(connection, account_id or "", account_ref, now)
    left_something = known.registration is not None or known.codes or known.tally.referrals
    return known if account_id is not None or left_something else None


async def _known(connection: Connection, account_id: str, account_ref: uuid.UUID, now: datetime) -> Known:
    return Known(
        account_id,
        account_ref,
        await registrations.find(connection, account_ref),
        tuple(await codes.list_of(connection, account_ref, limit=_CODES_MAX)),
        (await standings.find(connection, account_ref)).standing,
        await risk.tally(connection, account_ref),
        await exemptions.until(connection, account_ref, now),
    )
