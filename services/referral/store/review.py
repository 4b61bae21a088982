"""Cases for review, and notes on them."""

import uuid
from datetime import datetime

from asyncpg import Record

from libs.ids import new_id
from libs.postgres import Connection
from services.referral.model.review import Case, CaseFilter, CasePlace, CaseState, Finding, Note, Subject

_CASE = """
    SELECT cases.*, bonus_id, coalesce(amount_micro, 0) AS amount_micro
    FROM review_cases cases LEFT JOIN bonuses USING (referee_ref)
"""


async def insert(connection: Connection, case: Case) -> bool:
    """False when one of the same is open."""
    found = case.finding
    done: bool | None = await connection.fetchval(
        """
        INSERT INTO review_cases (case_id, subject, urgent, risk_score, referrer_ref, referee_ref, weights_version,
            observed, points, related_refs, opened_at, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (subject, referrer_ref, referee_ref) WHERE state = 'open' DO NOTHING RETURNING true
        """,
        case.case_id,
        found.subject,
        found.urgent,
        found.risk_score,
        found.referrer_ref,
        found.referee_ref,
        found.weights_version,
        found.observed,
        found.points,
        found.related_refs,
        case.opened_at,
        case.due_at,
    )
    return done is not None


async def save(connection: Connection, case: Case) -> None:
    """Writes what a later finding changed of an open case."""
    found = case.finding
    await connection.execute(
        """
        UPDATE review_cases SET urgent = $2, risk_score = $3, weights_version = $4, observed = $5, points = $6,
            related_refs = $7, due_at = $8
        WHERE case_id = $1
        """,
        case.case_id,
        found.urgent,
        found.risk_score,
        found.weights_version,
        found.observed,
        found.points,
        found.related_refs,
        case.due_at,
    )


async def decide(
    connection: Connection, case_id: uuid.UUID, state: CaseState, operator_id: str, reason: str, now: datetime
) -> None:
    """Writes the decision on a case that this transaction holds locked and open."""
    await connection.execute(
        """
        UPDATE review_cases SET state = $2, decided_by = $3, decision_reason = $4, decided_at = $5 WHERE case_id = $1
        """,
        case_id,
        state,
        operator_id,
        reason,
        now,
    )


async def find(connection: Connection, case_id: uuid.UUID) -> Case | None:
    """A case as it stands."""
    row = await connection.fetchrow(f"{_CASE} WHERE case_id = $1", case_id)
    return _case(row) if row else None


async def lock(connection: Connection, case_id: uuid.UUID) -> Case | None:
    """A case, locked."""
    row = await connection.fetchrow(f"{_CASE} WHERE case_id = $1 FOR NO KEY UPDATE OF cases", case_id)
    return _case(row) if row else None


async def lock_open(
    connection: Connection, subject: Subject, referrer_ref: uuid.UUID, referee_ref: uuid.UUID | None
) -> Case | None:
    """The open case of a subject, locked."""
    row = await connection.fetchrow(
        f"""
        {_CASE} WHERE cases.state = 'open' AND subject = $1 AND cases.referrer_ref = $2
            AND cases.referee_ref IS NOT DISTINCT FROM $3 FOR NO KEY UPDATE OF cases
        """,
        subject,
        referrer_ref,
        referee_ref,
    )
    return _case(row) if row else None


async def open_subjects(connection: Connection, referee_ref: uuid.UUID) -> list[Subject]:
    """What the open cases of a referee are about."""
    rows = await connection.fetch(
        "SELECT subject FROM review_cases WHERE referee_ref = $1 AND state = 'open'", referee_ref
    )
    return [Subject(row["subject"]) for row in rows]


async def page(
    connection: Connection, wanted: CaseFilter, after: CasePlace | None, now: datetime, *, limit: int
) -> list[Case]:
    """Cases, the most urgent first, then the oldest."""
    rows = await connection.fetch(
        f"""
        {_CASE}
        WHERE cases.state = $1 AND ($2::text IS NULL OR subject = $2) AND ($3::boolean IS NULL OR urgent = $3)
            AND ($4::uuid IS NULL OR cases.referrer_ref = $4) AND (NOT $5 OR (cases.state = 'open' AND due_at <= $6))
            AND ($7::boolean IS NULL OR (NOT urgent, opened_at, case_id) > (NOT $7, $8::timestamptz, $9::uuid))
        ORDER BY urgent DESC, opened_at, case_id LIMIT $10
        """,
        wanted.state,
        wanted.subject,
        wanted.urgent,
        wanted.referrer_ref,
        wanted.overdue_only,
        now,
        after.urgent if after else None,
        after.opened_at if after else None,
        after.case_id if after else None,
        limit,
    )
    return [_case(row) for row in rows]


async def escalate(connection: Connection, now: datetime, *, limit: int) -> list[uuid.UUID]:
    """Makes overdue cases urgent; those that somebody holds are left for the next time."""
    rows = await connection.fetch(
        """
        UPDATE review_cases SET urgent = true, escalated_at = $1 WHERE case_id IN (
            SELECT case_id FROM review_cases WHERE state = 'open' AND NOT urgent AND due_at <= $1
            ORDER BY due_at, case_id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
        ) RETURNING case_id
        """,
        now,
        limit,
    )
    return sorted(row["case_id"] for row in rows)


async def count_open(connection: Connection) -> int:
    """How many cases wait."""
    count: int = await connection.fetchval("SELECT count(*) FROM review_cases WHERE state = 'open'")
    return count


async def count_waiting(connection: Connection, now: datetime) -> dict[tuple[Subject, bool], tuple[int, int]]:
    """Open cases, and the overdue ones of them, by subject and urgency."""
    rows = await connection.fetch(
        """
        SELECT subject, urgent, count(*) AS waiting, count(*) FILTER (WHERE due_at <= $1) AS overdue
        FROM review_cases WHERE state = 'open' GROUP BY subject, urgent
        """,
        now,
    )
    return {(Subject(row["subject"]), row["urgent"]): (row["waiting"], row["overdue"]) for row in rows}


async def insert_note(connection: Connection, case_id: uuid.UUID, note: Note) -> None:
    """Writes a note down."""
    await connection.execute(
        "INSERT INTO review_notes (note_id, case_id, operator_id, text, written_at) VALUES ($1, $2, $3, $4, $5)",
        new_id(),
        case_id,
        note.operator_id,
        note.text,
        note.written_at,
    )


async def notes(connection: Connection, case_id: uuid.UUID, *, limit: int) -> list[Note]:
    """Notes on a case, oldest first."""
    rows = await connection.fetch(
        """
        SELECT operator_id, text, written_at FROM review_notes WHERE case_id = $1
        ORDER BY written_at, note_id LIMIT $2
        """,
        case_id,
        limit,
    )
    return [Note(row["operator_id"], row["text"], row["written_at"]) for row in rows]


def _case(row: Record) -> Case:
    finding = Finding(
        Subject(row["subject"]),
        row["referrer_ref"],
        row["referee_ref"],
        row["risk_score"],
        row["urgent"],
        row["weights_version"],
        tuple(row["observed"]) if row["observed"] is not None else None,
        tuple(row["points"]) if row["points"] is not None else None,
        tuple(row["related_refs"]),
    )
    return Case(
        row["case_id"],
        finding,
        CaseState(row["state"]),
        row["opened_at"],
        row["due_at"],
        row["decided_by"] or "",
        row["decided_at"],
        row["bonus_id"],
        row["amount_micro"],
    )
