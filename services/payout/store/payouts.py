"""Payouts. They begin in `openings`; what happens to one goes through `move`, and through nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs import outbox
from libs.idempotency import ANSWERING_WRITTEN, Answer
from libs.postgres import Connection, violated
from libs.timestamps import to_timestamp
from protos.payout.v1 import events_pb2
from services.payout.model import Event, Money, Stage
from services.payout.model.payouts import Change, Payout
from services.payout.rules import machine

_PAYOUT: Final = """
    payout_id, account_ref, destination_id, address, memo, payouts.currency, amount_micro, fee_micro, fee_final,
    net_amount, quoted_until, stage, reason, round, revision, money, held, manual, needs_confirmation, approvals_needed,
    approval_reasons, cumulative_micro, payouts.confirmed_at, approved_at, due_at, tries, sent_amount,
    transaction_hash, request_id, requested_at, changed_at
    """
_WHERE_TO: Final = "LEFT JOIN destinations USING (account_ref, destination_id)"


@dataclass(frozen=True, slots=True)
class With:
    """What else changes with a move; None keeps what there is."""

    reason: str = ""
    money: Money | None = None
    held: bool | None = None
    manual: bool | None = None
    fee_micro: int | None = None
    fee_final: bool | None = None
    net_amount: Decimal | None = None
    quoted_until: datetime | None = None
    sent_amount: Decimal | None = None
    transaction_hash: str | None = None
    due_at: datetime | None = None
    tries: int | None = None
    confirmed_at: datetime | None = None
    approved_at: datetime | None = None
    round: int | None = None


NOTHING: Final = With()
_GIVEN: Final = [each.name for each in fields(With)]
_MOVE: Final = f"""
    WITH written AS (
        UPDATE payouts SET
            stage = $14, revision = revision + 1, actor = $15, changed_at = $16, reason = $17,
            money = coalesce($18, money), held = coalesce($19, held), manual = coalesce($20, manual),
            fee_micro = $21, fee_final = coalesce($22, fee_final),
            sent_amount = coalesce($23, sent_amount), transaction_hash = coalesce($24, transaction_hash),
            due_at = coalesce($25, due_at), tries = coalesce($26, tries), confirmed_at = coalesce($27, confirmed_at),
            approved_at = coalesce($28, approved_at), round = coalesce($29, round),
            net_amount = coalesce($30, net_amount), quoted_until = coalesce($31, quoted_until)
        WHERE payout_id = $12 AND revision = $13 RETURNING *
    ), told AS ({outbox.TELLING_WRITTEN}), answered AS ({ANSWERING_WRITTEN})
    SELECT {_PAYOUT} FROM written AS payouts {_WHERE_TO}
    """  # noqa: S608 - constants


async def move(
    connection: Connection,
    payout: Payout,
    event: Event,
    now: datetime,
    *,
    actor: str,
    also: With = NOTHING,
    answer: Answer | None = None,
) -> Payout:
    """Take a payout on by what happened to it, from the revision that it was read in; keep and tell the change.

    All in one statement, with the answer to the request that this was for, if it is given. The event says what the row
    says: it is made of the revision that the statement insists on.

    Raises IllegalMove; asyncpg.SerializationError where something else happened to it, or was answered, meanwhile.
    """
    moved = ahead(payout, event, now, also)
    told = outbox.telling([event_of(moved)], key=str(moved.account_ref), occurred_at=now)
    row = (
        payout.payout_id,
        payout.revision,
        moved.stage,
        actor,
        now,
        moved.reason,
        also.money,
        also.held,
        also.manual,
        moved.fee_micro,
        also.fee_final,
        also.sent_amount,
        also.transaction_hash,
        also.due_at,
        also.tries,
        also.confirmed_at,
        also.approved_at,
        also.round,
        also.net_amount,
        also.quoted_until,
    )
    try:
        changed = await connection.fetch(_MOVE, *told, *(answer or (None,) * len(Answer._fields)), *row)
    except asyncpg.UniqueViolationError as error:
        if violated(error) != "idempotency_pkey":
            raise
        changed = []
    if not changed:
        raise asyncpg.SerializationError("the payout was moved meanwhile")
    return _payout(changed[0])


def ahead(payout: Payout, event: Event, now: datetime, also: With = NOTHING) -> Payout:
    """Return what a payout becomes by what happened to it, if nothing else happens to it before. Raises IllegalMove."""
    given = {name: value for name in _GIVEN if (value := getattr(also, name)) is not None}
    changed = {"stage": machine.after(payout.stage, event), "revision": payout.revision + 1, "changed_at": now}
    return replace(payout, **given | changed)


async def note_money(connection: Connection, payout: Payout, money: Money) -> bool:
    """Keep what the ledger said of this round's money; its stage stays. False where it was known.

    Money that counts as refused may have been held after all, by whoever asked before that was known.
    """
    noted: str = await connection.execute(
        """
        UPDATE payouts SET money = $3, held = held OR $3 IN (2, 3)
        WHERE payout_id = $1 AND round = $2
            AND (money < $3 OR ($3 = 2 AND money = 4 AND NOT held AND stage IN (11, 12)))
        """,
        payout.payout_id,
        payout.round,
        money,
    )
    return noted.endswith("1")


async def wait(connection: Connection, payout: Payout, due_at: datetime, tries: int) -> None:
    """Do not look at a payout before an instant, unless something happens to it."""
    await connection.execute(
        "UPDATE payouts SET due_at = $3, tries = $4 WHERE payout_id = $1 AND revision = $2",
        payout.payout_id,
        payout.revision,
        due_at,
        tries,
    )


async def set_manual(connection: Connection, payout: Payout, *, manual: bool) -> None:
    """Keep a payout from the provider, or let it go there again; it may not be there."""
    await connection.execute("UPDATE payouts SET manual = $2 WHERE payout_id = $1", payout.payout_id, manual)


async def lock(connection: Connection, payout_id: UUID) -> Payout | None:
    """A payout that is this transaction's until its end."""
    rows = await fetch(connection, "payout_id = $1 FOR UPDATE OF payouts", payout_id)
    return rows[0] if rows else None


async def find(connection: Connection, payout_id: UUID) -> Payout | None:
    """A payout as it is."""
    rows = await fetch(connection, "payout_id = $1", payout_id)
    return rows[0] if rows else None


async def get(connection: Connection, payout_id: UUID) -> Payout:
    """A payout that there is."""
    (payout,) = await fetch(connection, "payout_id = $1", payout_id)
    return payout


async def by_request(connection: Connection, request_id: str) -> tuple[Payout, bytes]:
    """The payout that a request has opened, and the fingerprint of what was asked."""
    (payout,) = await fetch(connection, "request_id = $1", request_id)
    return payout, await connection.fetchval("SELECT fingerprint FROM payouts WHERE request_id = $1", request_id)


async def in_stages(
    connection: Connection, stages: Sequence[Stage], due_by: datetime, limit: int, *, money: Money | None = None
) -> list[Payout]:
    """Payouts in any of these stages whose turn has come, the longest due first."""
    return await fetch(
        connection,
        "stage = ANY ($1::smallint[]) AND due_at <= $2 AND ($4::smallint IS NULL OR money = $4) "
        "ORDER BY due_at, payout_id LIMIT $3",
        list(stages),
        due_by,
        limit,
        money,
    )


async def unsettled(connection: Connection, limit: int) -> list[Payout]:
    """Final payouts whose money is not known to be settled, the oldest first."""
    return await fetch(connection, "stage >= 10 AND money <> 4 ORDER BY changed_at LIMIT $1", limit)


async def history(connection: Connection, payout_id: UUID) -> list[Change]:
    """Everything that happened to a payout, oldest first."""
    rows = await connection.fetch(
        """
        SELECT payout_id, revision, stage, reason, round, actor, changed_at FROM payout_changes
        WHERE payout_id = $1 ORDER BY revision
        """,
        payout_id,
    )
    return [Change(row[0], row[1], Stage(row[2]), *row[3:]) for row in rows]


async def fetch(connection: Connection, where: str, *arguments: Any) -> list[Payout]:
    """Payouts by a condition that this package wrote; no part of it ever comes from outside."""
    rows = await connection.fetch(f"SELECT {_PAYOUT} FROM payouts {_WHERE_TO} WHERE {where}", *arguments)  # noqa: S608
    return [_payout(row) for row in rows]


def _payout(row: asyncpg.Record) -> Payout:
    found = dict(row)
    return Payout(
        **found
        | {
            "stage": Stage(found["stage"]),
            "money": Money(found["money"]),
            "approval_reasons": tuple(found["approval_reasons"]),
        }
    )


def event_of(payout: Payout) -> events_pb2.PayoutChanged:
    """What is told of a payout as it is now."""
    return events_pb2.PayoutChanged(
        payout_id=str(payout.payout_id),
        account_ref=str(payout.account_ref),
        state=events_pb2.PayoutState.ValueType(payout.stage.state),
        stage=events_pb2.PayoutStage.ValueType(payout.stage),
        reason=payout.reason,
        amount_micro=payout.amount_micro,
        fee_micro=payout.fee_micro,
        net_micro=payout.net_micro,
        currency=payout.currency,
        revision=payout.revision,
        changed_at=to_timestamp(payout.changed_at),
    )
