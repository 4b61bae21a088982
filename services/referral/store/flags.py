"""Which registrations count no more where referrals are shown off, as others were told."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from libs.postgres import Connection


class Flag(NamedTuple):
    """What others are to be told of a registration."""

    referee_ref: uuid.UUID
    referrer_ref: uuid.UUID
    flagged: bool
    revision: int


async def lock(connection: Connection, referee_ref: uuid.UUID) -> None:
    """Scores, verdicts and bonuses that change at once take turns here."""
    await connection.execute("SELECT FROM risk_assessments WHERE referee_ref = $1 FOR NO KEY UPDATE", referee_ref)


async def change(
    connection: Connection, referee_ref: uuid.UUID, reversing: Collection[str], now: datetime
) -> Flag | None:
    """What is held against a registration now, where that is not what was told; a bonus denied for one of `reversing`.

    A reviewer's verdict goes before the score. The registration's assessment is locked.
    """
    row = await connection.fetchrow(
        """
        INSERT INTO registration_flags AS told (referee_ref, referrer_ref, flagged, revision, changed_at)
        SELECT * FROM (
            SELECT referee_ref, referrer_ref, coalesce(verdict = 'confirmed', flagged) OR EXISTS (
                SELECT FROM bonuses
                WHERE bonuses.referee_ref = $1 AND state = 'denied' AND reason = ANY ($2::text[])
            ) AS flagged, 1, $3::timestamptz
            FROM risk_assessments WHERE referee_ref = $1
        ) AS found WHERE flagged OR EXISTS (SELECT FROM registration_flags WHERE referee_ref = $1)
        ON CONFLICT (referee_ref) DO UPDATE
            SET flagged = excluded.flagged, revision = told.revision + 1, changed_at = excluded.changed_at
            WHERE told.flagged <> excluded.flagged
        RETURNING referee_ref, referrer_ref, flagged, revision
        """,
        referee_ref,
        sorted(reversing),
        now,
    )
    return Flag(*row) if row else None
