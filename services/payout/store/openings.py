"""How payouts begin: all that a request is judged by in one look, and all that it comes to in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from libs import outbox
from libs.postgres import Connection, violated
from services.payout.model.currencies import Price
from services.payout.model.destinations import Destination, DestinationState
from services.payout.model.payouts import Payout
from services.payout.rules.approvals import VERIFIED_BY
from services.payout.rules.confirmations import Challenge
from services.payout.store import destinations, payouts
from services.payout.store.limits import ENDED_BADLY, SO_FAR, SoFar
from services.payout.store.prices import Quote


class Look(NamedTuple):
    """What a request is looked up by."""

    account_id: str
    request_id: str
    currency: str
    quote_id: UUID | None
    address: str
    memo: str
    address_ref: UUID


@dataclass(frozen=True, slots=True)
class Situation:
    """What a request meets.

    `standing`: as referral told it last, 0 where it never told one. `turn`: the account's, which nobody may have taken
    by the time that a payout begins. `was_requested`: the request has opened a payout before; `was_answered`: and that
    was told. `shared`: who else uses the address.
    """

    account_ref: UUID
    standing: int
    turn: int
    so_far: SoFar
    was_requested: bool
    was_answered: bool
    price: Price | None
    quote: Quote | None
    destination: Destination | None
    shared: Sequence[UUID]


_LOOK: Final = f"""
    SELECT me.account_ref, coalesce(standing, 0), coalesce(turn, 0), {SO_FAR},
        EXISTS (SELECT FROM payouts WHERE request_id = $4),
        EXISTS (SELECT FROM idempotency WHERE request_id = $4 AND method = 'RequestPayout'),
        ARRAY(
            SELECT DISTINCT account_ref FROM destinations WHERE address_ref = $9 AND account_ref <> me.account_ref
            ORDER BY account_ref LIMIT {destinations.SHARED_MAX}
        ),
        prices.currency, units_per_usd, fee_units, minimum_units, asked_at,
        quote_id, quotes.account_ref, quotes.currency, amount_micro, fee_micro, net_amount, quoted_at, expires_at,
        destination_id, destinations.account_ref, destinations.currency, address, memo, address_ref, state, added_at,
        confirmed_at, usable_from
    FROM accounts AS me
    LEFT JOIN standings USING (account_ref)
    LEFT JOIN turns USING (account_ref)
    LEFT JOIN prices ON prices.currency = $5
    LEFT JOIN quotes ON quote_id = $6 AND quotes.account_ref = me.account_ref
    LEFT JOIN destinations
        ON destinations.account_ref = me.account_ref AND destinations.currency = $5 AND address = $7 AND memo = $8
    WHERE account_id = $1
    """  # noqa: S608 - constants
_INSERT: Final = f"""
    WITH mine AS (
        INSERT INTO turns (account_ref, turn) VALUES ($9, 1)
        ON CONFLICT (account_ref) DO UPDATE SET turn = turns.turn + 1 WHERE turns.turn = $30 RETURNING 1
    ), place AS (
        INSERT INTO destinations (destination_id, account_ref, currency, address, memo, address_ref, state, added_at)
        SELECT $10, $9, $11, $27, $28, $29, 1, $22 FROM mine WHERE $27::text IS NOT NULL RETURNING 1
    ), written AS (
        INSERT INTO payouts (
            payout_id, account_ref, destination_id, currency, amount_micro, fee_micro, net_amount, stage, actor,
            needs_confirmation, approvals_needed, approval_reasons, cumulative_micro, due_at, request_id, fingerprint,
            requested_at, changed_at, quoted_until
        )
        SELECT $8::uuid, $9::uuid, $10::uuid, $11::text, $12::bigint, $13::bigint, $14::numeric, 1, 'owner',
            $15::boolean, $16::smallint, $17::text[], $18::bigint, $19::timestamptz, $20::text, $21::bytea,
            $22::timestamptz, $22, $23::timestamptz
        FROM mine WHERE $27::text IS NULL OR EXISTS (SELECT FROM place)
        RETURNING payout_id, account_ref
    ), asked AS (
        INSERT INTO confirmations (payout_id, account_ref, method, text, expires_at)
        SELECT payout_id, account_ref, $24, $25, $26 FROM written WHERE $24::smallint IS NOT NULL
    ), told AS ({outbox.TELLING_WRITTEN})
    SELECT EXISTS (SELECT FROM mine), EXISTS (SELECT FROM written)
    """  # noqa: S608 - constants


async def look(connection: Connection, at: Look) -> Situation | None:
    """What a request meets, as of one moment; None where this service has not seen the account, or has forgotten it."""
    rows = await connection.fetch(
        _LOOK, at.account_id, ENDED_BADLY, list(VERIFIED_BY), at.request_id, at.currency, at.quote_id, at.address,
        at.memo, at.address_ref,
    )  # fmt: skip
    if not rows:
        return None
    account_ref, standing, turn, last, cumulative_micro, was_requested, was_answered, shared, *rest = rows[0]
    price, quote, place = rest[:5], rest[5:13], rest[13:]
    place[6] = DestinationState(place[6] or DestinationState.NEW)
    return Situation(
        account_ref,
        standing,
        turn,
        SoFar(last, cumulative_micro),
        was_requested,
        was_answered,
        Price(*price) if price[0] else None,
        Quote(*quote) if quote[0] else None,
        Destination(*place) if place[0] else None,
        shared,
    )


async def insert(
    connection: Connection,
    payout: Payout,
    fingerprint: bytes,
    *,
    turn: int = 0,
    challenge: Challenge | None = None,
    destination: Destination | None = None,
    shared: Sequence[UUID] = (),
) -> bool:
    """Write a payout down that begins, what its owner is to do, and a destination not seen before; tells of both.

    `turn`: the account's when this was decided. `shared`: who else uses the new destination. False where the account of
    a new destination was erased. Raises asyncpg.SerializationError where the account, or somebody with the same request
    id, had a turn since. Nothing is written then.
    """
    events: list[Message] = [payouts.event_of(payout)]
    if destination:
        events.insert(0, destinations.event_of(destination, shared, payout.requested_at))
    row = (
        *outbox.telling(events, key=str(payout.account_ref), occurred_at=payout.requested_at),
        payout.payout_id,
        payout.account_ref,
        payout.destination_id,
        payout.currency,
        payout.amount_micro,
        payout.fee_micro,
        payout.net_amount,
        payout.needs_confirmation,
        payout.approvals_needed,
        list(payout.approval_reasons),
        payout.cumulative_micro,
        payout.due_at,
        payout.request_id,
        fingerprint,
        payout.requested_at,
        payout.quoted_until,
        *(challenge or (None, None, None)),
        *((destination.address, destination.memo, destination.address_ref) if destination else (None, None, None)),
        turn,
    )
    try:
        ((is_mine, is_written),) = await connection.fetch(_INSERT, *row)
    except asyncpg.UniqueViolationError as error:
        if violated(error) != "payouts_request_id_key":
            raise
        is_mine = False
    if not is_mine:
        raise asyncpg.SerializationError("the account asked for something else meanwhile")
    return bool(is_written)
