"""The audit log: written within the act's own transaction, walked from its beginning to prove that it is unchanged."""

from datetime import datetime
from uuid import UUID

from libs.postgres import Connection, Postgres
from services.referral.model.audit import Act
from services.referral.rules import audit as rules
from services.referral.store import audit as store

_WALK = 1000


async def record(
    connection: Connection,
    *,
    act: str,
    subject: str,
    operator_id: str,
    reason: str,
    account_ref: UUID | None = None,
    now: datetime,
) -> int:
    """Writes one act down and returns its sequence; "job:<name>" is the operator of a job.

    To be called last in its transaction: from here on every other act waits for this one to be committed.
    """
    head = await store.lock_head(connection)
    row = rules.chained(head, Act(act, subject, account_ref, operator_id, reason, now))
    await store.append(connection, row)
    return row.sequence


async def broken_at(postgres: Postgres) -> int | None:
    """The first sequence that is missing or was changed; None when the whole log is as it was written.

    The newest rows cut off together with the head leave no trace in the chain itself: keep a row's hash elsewhere.
    """
    async with postgres.connection() as connection:
        head = await store.head(connection)
        reached = rules.EMPTY
        while rows := await store.after(connection, reached.sequence, limit=_WALK):
            wrong, reached = rules.broken_at(reached, rows)
            if wrong is not None:
                return wrong
    return None if reached.sequence >= head.sequence else reached.sequence + 1
