"""Fills the journal, set by set: what it looks like after a while. One charge in five gave a creator its share.

What the charges moved is added to balances, pending earnings, the foundation's days and the event log (whose events say
no more of a charge than its id), so that settlement and the audit find books that are right.
"""

import argparse
import asyncio
import json
import time

import asyncpg
import uvloop

from libs.clock import MovableClock
from libs.outbox import topic_of
from protos.distribution.v1.events_pb2 import ChargesFinalized

CREATORS = 10_000
REFERRED_EACH = 5
SET = 100_000

# Half of the ids grow with time, half are random: charges of either kind meet an index of their kind.
_IDS = {"time-ordered": "uuidv7()", "random": "gen_random_uuid()"}

# Triggers are for callers: the sets below write what they would.
_SET_UP = "SET search_path = distribution; SET session_replication_role = replica; SET synchronous_commit = off"

_CHARGES = """
    INSERT INTO distributions (
        distribution_id, payer_ref, referrer_ref, revenue_micro, promotional_micro, provider_cost_micro,
        referrer_micro, commons_micro, community_micro, foundation_micro, finalized_at, recorded_at, rule_version,
        referrer_outcome, inference_charge_id, community_id, model, model_tier, fingerprint
    )
    SELECT uuidv7(), md5('payer' || n % 100000)::uuid, CASE WHEN n % {referred} = 0 THEN creator END, 100000, 0, 50000,
        CASE WHEN n % {referred} = 0 THEN 10000 ELSE 0 END, CASE WHEN n % {referred} = 0 THEN 4500 ELSE 5000 END,
        CASE WHEN n % {referred} = 0 THEN 63000 ELSE 70000 END, CASE WHEN n % {referred} = 0 THEN 22500 ELSE 25000 END,
        $3, $3, 1, CASE WHEN n % {referred} = 0 THEN 1 ELSE 2 END, {new_id}::text, 'community-' || n % 20,
        'gpt-4o-2024-11-20', 'standard', decode(md5(n::text), 'hex')
    FROM generate_series($1::bigint, $2::bigint) AS n
    CROSS JOIN LATERAL (SELECT md5('creator' || n / {referred} % {creators})::uuid AS creator) AS brought
    """

_PENDING = """
    INSERT INTO pending_earnings (
        creator_ref, distribution_id, inference_charge_id, amount_micro, accrued_at, cleared_at
    )
    SELECT referrer_ref, distribution_id, inference_charge_id, referrer_micro, finalized_at, finalized_at
    FROM distributions WHERE referrer_micro > 0 AND recorded_at = $1
    """

_DAYS = """
    INSERT INTO foundation_days AS days (day, foundation_micro)
    SELECT (finalized_at AT TIME ZONE 'UTC')::date, sum(foundation_micro) FROM distributions WHERE recorded_at = $1
    GROUP BY 1 ON CONFLICT (day) DO UPDATE SET foundation_micro = days.foundation_micro + excluded.foundation_micro
    """

# A ChargesFinalized of up to 512 charges, each with its inference_charge_id (field 2, 36 bytes) and nothing else.
_EVENTS = """
    WITH payloads AS MATERIALIZED (
        SELECT part, string_agg('\\x0a261224'::bytea || convert_to(inference_charge_id, 'UTF8'), ''::bytea) AS payload
        FROM (
            SELECT inference_charge_id, (row_number() OVER () - 1) / 512 AS part
            FROM distributions WHERE recorded_at = $1
        ) AS numbered GROUP BY part
    ), head AS (
        INSERT INTO event_heads AS heads (topic, partition, position, published)
        SELECT $2, 0, count(*), count(*) FROM payloads
        ON CONFLICT (topic, partition) DO UPDATE
        SET position = heads.position + excluded.position, published = heads.published + excluded.published
        RETURNING position
    )
    INSERT INTO events (topic, partition, position, event_id, key, payload, occurred_at, traceparent)
    SELECT $2, 0, position - part, uuidv7(), '0', payload, $1, '' FROM payloads, head
    """

_BALANCES = """
    INSERT INTO accounts (name, kind, balance_micro)
    SELECT account, CASE
            WHEN account = 'platform:receipts' THEN 'receipts'
            WHEN account LIKE 'creator:%' THEN 'creator_pending'
            WHEN account LIKE 'community:%' THEN 'community'
            ELSE regexp_replace(account, '^treasury:', '')
        END, sum(amount_micro)
    FROM entries WHERE recorded_at = $1 GROUP BY account
    ON CONFLICT (name) DO UPDATE SET balance_micro = accounts.balance_micro + excluded.balance_micro
    """


async def _fill(dsn: str, order: str, numbers: range, recorded_at: object) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_SET_UP)
        statement = _CHARGES.format(new_id=_IDS[order], referred=REFERRED_EACH, creators=CREATORS)
        for first in range(numbers.start, numbers.stop, SET):
            last = min(first + SET, numbers.stop) - 1
            await connection.execute(statement, first, last, recorded_at, timeout=300)
    finally:
        await connection.close()


async def _run(dsn: str, clock: str, charges: int) -> dict[str, float]:
    began = time.monotonic()
    connection = await asyncpg.connect(dsn)
    await connection.execute(_SET_UP)
    recorded_at = MovableClock(clock).now()
    half = charges // 2
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_fill(dsn, "time-ordered", range(half), recorded_at))
        tasks.create_task(_fill(dsn, "random", range(half, charges), recorded_at))
    await connection.execute(_PENDING, recorded_at, timeout=300)
    await connection.execute(_BALANCES, recorded_at, timeout=300)
    await connection.execute(_DAYS, recorded_at, timeout=300)
    await connection.execute(_EVENTS, recorded_at, topic_of(ChargesFinalized).name, timeout=300)
    # What autovacuum would do soon, in the middle of a measurement.
    for table in ("distributions", "pending_earnings", "accounts", "events"):
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=300)
    await connection.execute("CHECKPOINT", timeout=300)
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    await connection.close()
    return {"seconds": time.monotonic() - began, "bytes": size}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("clock")
    parser.add_argument("charges", type=int)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(_run(options.dsn, options.clock, options.charges))))


if __name__ == "__main__":
    main()
