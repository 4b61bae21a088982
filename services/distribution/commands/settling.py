"""Pending earnings become settled, a while after the money behind them cleared."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs import outbox
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2
from services.distribution import metrics
from services.distribution.commands.posting import Posting, post_many
from services.distribution.model import creator_account
from services.distribution.model.earnings import Settled
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import earnings as rules
from services.distribution.store import earnings

BATCH = 20_000


async def settle(postgres: Postgres, now: datetime, *, delay: timedelta, hold: timedelta) -> int:
    """Settles everything that is due at `now`; returns how many shares. Two at once share the work.

    A creator's due shares go together, under one transfer; creators go in groups, a transaction each.
    """
    cleared_by = rules.due_before(now, delay)
    async with postgres.connection() as connection:
        due = await earnings.due_creators(connection, cleared_by)
    total = 0
    for creators in rules.groups(due, BATCH):
        total += await _settle_creators(postgres, creators, cleared_by, now, hold)
    return total


@retried
async def _settle_creators(
    postgres: Postgres, creators: Sequence[str], cleared_by: datetime, now: datetime, hold: timedelta
) -> int:
    async with postgres.transaction() as connection:
        await earnings.lock_states(connection, creators)
        transfer_ids = {creator_ref: new_id() for creator_ref in creators}
        settled = await earnings.settle_due(connection, transfer_ids, cleared_by, settled_at=now, hold=hold)
        postings = [
            Posting(
                TransferKind.SETTLE,
                now.date().isoformat(),
                {
                    creator_account(each.creator_ref, "pending"): -each.amount_micro,
                    creator_account(each.creator_ref, "settled"): each.amount_micro,
                },
                transfer_ids[each.creator_ref],
            )
            for each in settled
        ]
        await post_many(connection, postings, now=now)
        await _tell(connection, settled, {ref: str(transfer_ids[ref]) for ref in creators}, now)
    shares = sum(each.shares for each in settled)
    metrics.SETTLED.inc(sum(each.amount_micro for each in settled))
    return shares


async def _tell(connection: Connection, settled: list[Settled], transfer_ids: dict[str, str], now: datetime) -> None:
    changed_at = to_timestamp(now)
    events = [
        outbox.Entry(
            events_pb2.EarningsChanged(
                creator_ref=each.creator_ref,
                change=events_pb2.EARNINGS_CHANGE_SETTLED,
                amount_micro=each.amount_micro,
                transfer_id=transfer_ids[each.creator_ref],
                changed_at=changed_at,
            ),
            each.creator_ref,
        )
        for each in settled
    ]
    await outbox.append_many(connection, events, occurred_at=now)


async def drop_matured(postgres: Postgres, now: datetime) -> int:
    """Forgets the maturing rows whose time has come, a batch at a time; returns how many."""
    total = 0
    while True:
        async with postgres.transaction() as connection:
            dropped = await earnings.drop_matured(connection, now, BATCH)
        total += dropped
        if dropped < BATCH:
            return total
