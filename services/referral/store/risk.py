"""Signals, scores, and what is held against registrations."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from libs.postgres import Connection
from services.referral.model import Registration
from services.referral.model.risk import Hash, RiskVerdict, Score, ShadowReport, Signal, Stage
from services.referral.model.standings import Tally
from services.referral.rules.risk import RESCORE_AFTER, VELOCITY_WINDOW

_COUNTED_MAX = 1000
"""Far above every divisor that makes sense: a popular network is not counted to its end."""


class Scored(NamedTuple):
    """A registration that is due to be scored again."""

    referee_ref: uuid.UUID
    referrer_ref: uuid.UUID


class Observed(NamedTuple):
    """How many accounts have something in common, and when the account first paid: a charge, or an action."""

    alike: dict[Signal, int]
    first_paid_at: datetime | None


async def keep_signals(
    connection: Connection, referee_ref: uuid.UUID, hashes: Sequence[Hash], current: str, now: datetime
) -> None:
    """Keeps the hashes under the current key; those under a former one only where it made the same before."""
    await connection.execute(
        """
        INSERT INTO risk_signals (referee_ref, kind, key_id, hash, registered_at)
        SELECT $1, kind, key_id, hash, $2 FROM unnest($3::text[], $4::text[], $5::bytea[]) AS seen (kind, key_id, hash)
        WHERE key_id = $6
            OR EXISTS (SELECT FROM risk_signals former WHERE former.hash = seen.hash AND former.key_id = seen.key_id)
        ON CONFLICT DO NOTHING
        """,
        referee_ref,
        now,
        [each.kind for each in hashes],
        [each.key_id for each in hashes],
        [each.hash for each in hashes],
        current,
    )


def _alike(kind: str, between: str = "") -> str:
    """How many other accounts have the same hash."""
    return f"""(
        SELECT count(DISTINCT referee_ref) FROM (
            SELECT others.referee_ref FROM risk_signals own JOIN risk_signals others USING (kind, key_id, hash)
            WHERE own.referee_ref = $1 AND own.kind = '{kind}' AND others.referee_ref <> $1 {between}
            LIMIT {_COUNTED_MAX}
        ) AS alike
    )"""  # noqa: S608 - constants


_OBSERVE = f"""
    SELECT {_alike("ip")} AS ip, {_alike("fingerprint")} AS fingerprint,
        {_alike("prefix", "AND others.registered_at BETWEEN $2 AND $3")} AS before,
        {_alike("prefix", "AND others.registered_at BETWEEN $3 AND $4 AND $3 < $4")} AS after,
        EXISTS (SELECT FROM risk_signals WHERE referee_ref = $1 AND kind = 'prefix') AS seen,
        least(
            (SELECT first_paid_at FROM referee_activity WHERE referee_ref = $1),
            (SELECT min(occurred_at) FROM qualifying_actions WHERE account_ref = $1 AND paid_micro > 0)
        ) AS first_paid_at
    """  # noqa: S608 - constants


async def observe(connection: Connection, registration: Registration, stage: Stage) -> Observed:
    """What is seen of a registration beside the others, in one round trip.

    Velocity is the registrations from the network in the hour that ends with this one, this one included; looked at
    later, also in the hour that begins with it, so that the first of a burst are seen as well.
    """
    at = registration.created_at
    later = at if stage is Stage.REGISTRATION else at + VELOCITY_WINDOW
    row = await connection.fetchrow(_OBSERVE, registration.referee_ref, at - VELOCITY_WINDOW, at, later)
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    alike = {
        Signal.IP_CLUSTER: row["ip"],
        Signal.FINGERPRINT: row["fingerprint"],
        Signal.VELOCITY: max(row["before"], row["after"]) + 1 if row["seen"] else 0,
    }
    return Observed(alike, row["first_paid_at"])


async def related(connection: Connection, referee_ref: uuid.UUID, *, limit: int) -> list[uuid.UUID]:
    """Accounts that share an address on the network or a fingerprint; those with most in common first."""
    rows = await connection.fetch(
        """
        SELECT others.referee_ref FROM (
            SELECT others.referee_ref, others.kind FROM risk_signals own
            JOIN risk_signals others USING (kind, key_id, hash)
            WHERE own.referee_ref = $1 AND own.kind IN ('ip', 'fingerprint', 'user_agent')
                AND others.referee_ref <> $1
            LIMIT $3
        ) AS others
        GROUP BY others.referee_ref HAVING bool_or(kind <> 'user_agent')
        ORDER BY count(DISTINCT kind) DESC, others.referee_ref LIMIT $2
        """,
        referee_ref,
        limit,
        _COUNTED_MAX,
    )
    return [row["referee_ref"] for row in rows]


async def purge_signals(connection: Connection, before: datetime, *, limit: int) -> int:
    """Deletes hashes that are old enough, and returns how many."""
    rows = await connection.fetch(
        """
        DELETE FROM risk_signals WHERE ctid IN (
            SELECT ctid FROM risk_signals WHERE registered_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
        """,
        before,
        limit,
    )
    return len(rows)


async def save_score(
    connection: Connection, referee_ref: uuid.UUID, stage: Stage, score: Score, now: datetime, *, decides: bool
) -> None:
    """Keeps a score with its parts."""
    await connection.execute(
        """
        INSERT INTO risk_scores
            (referee_ref, stage, weights_version, decides, observed, points, score, flagged, scored_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (referee_ref, stage, weights_version) DO UPDATE SET
            observed = excluded.observed, points = excluded.points, score = excluded.score,
            flagged = excluded.flagged, scored_at = excluded.scored_at, decides = excluded.decides
        """,
        referee_ref,
        stage,
        score.version,
        decides,
        score.observed,
        score.points,
        score.score,
        score.flagged,
        now,
    )


async def save_assessment(
    connection: Connection, registration: Registration, stage: Stage, score: Score, now: datetime, *, exempt: bool
) -> RiskVerdict | None:
    """What is held against a registration from now on; returns the verdict that stands."""
    verdict: str | None = await connection.fetchval(
        """
        INSERT INTO risk_assessments AS known
            (referee_ref, referrer_ref, registered_at, weights_version, score, flagged, scored_at, rescore_at,
            beyond_network)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $10)
        ON CONFLICT (referee_ref) DO UPDATE SET
            weights_version = excluded.weights_version, score = excluded.score, flagged = excluded.flagged,
            beyond_network = excluded.beyond_network, scored_at = excluded.scored_at,
            rescore_at = CASE WHEN $9 THEN NULL ELSE known.rescore_at END
        RETURNING verdict
        """,
        registration.referee_ref,
        registration.referrer_ref,
        registration.created_at,
        score.version,
        score.score,
        score.flagged and not exempt,
        now,
        None if stage is Stage.WEEK else registration.created_at + RESCORE_AFTER,
        stage is Stage.WEEK,
        score.beyond_network,
    )
    return RiskVerdict(verdict) if verdict else None


async def set_verdict(connection: Connection, referee_ref: uuid.UUID, verdict: RiskVerdict) -> None:
    """What a reviewer found of a registration; what was confirmed stays confirmed."""
    await connection.execute(
        "UPDATE risk_assessments SET verdict = $2 WHERE referee_ref = $1 AND verdict IS DISTINCT FROM 'confirmed'",
        referee_ref,
        verdict,
    )


async def list_to_rescore(connection: Connection, now: datetime, *, limit: int) -> list[Scored]:
    """Registrations whose first week is over, the oldest first."""
    rows = await connection.fetch(
        """
        SELECT referee_ref, referrer_ref FROM risk_assessments WHERE rescore_at <= $1
        ORDER BY rescore_at, referee_ref LIMIT $2
        """,
        now,
        limit,
    )
    return [Scored(row["referee_ref"], row["referrer_ref"]) for row in rows]


async def forget_rescore(connection: Connection, referee_ref: uuid.UUID) -> None:
    """Looks no more at a registration that is gone."""
    await connection.execute("UPDATE risk_assessments SET rescore_at = NULL WHERE referee_ref = $1", referee_ref)


async def tally(connection: Connection, referrer_ref: uuid.UUID, since: datetime | None = None) -> Tally:
    """Referrals of an account, and the flagged ones; those after an instant, where one is given."""
    row = await connection.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM referral_registrations
             WHERE kind = 'referred' AND referrer_ref = $1 AND ($2::timestamptz IS NULL OR created_at > $2)
            ) AS referrals,
            (SELECT count(*) FROM risk_assessments
             WHERE counts AND referrer_ref = $1 AND ($2::timestamptz IS NULL OR registered_at > $2)) AS flagged
        """,
        referrer_ref,
        since,
    )
    return Tally(row["referrals"], row["flagged"]) if row else Tally(0, 0)


async def flagged_refs(connection: Connection, referrer_ref: uuid.UUID, *, limit: int) -> list[uuid.UUID]:
    """Flagged referees of an account, the newest first."""
    rows = await connection.fetch(
        """
        SELECT referee_ref FROM risk_assessments WHERE counts AND referrer_ref = $1
        ORDER BY registered_at DESC, referee_ref LIMIT $2
        """,
        referrer_ref,
        limit,
    )
    return [row["referee_ref"] for row in rows]


async def report(
    connection: Connection, version: int, from_time: datetime | None, to_time: datetime | None
) -> ShadowReport:
    """Compares, registration by registration, a version's shadow scores with those that decided beside them."""
    row = await connection.fetchrow(
        """
        WITH both_scored AS (
            SELECT referee_ref, bool_or(decided.flagged) AS active, bool_or(shadow.flagged) AS shadow
            FROM risk_scores shadow JOIN risk_scores decided USING (referee_ref, stage, scored_at)
            JOIN referral_registrations USING (referee_ref)
            WHERE shadow.weights_version = $1 AND NOT shadow.decides AND decided.decides
                AND ($2::timestamptz IS NULL OR created_at >= $2) AND ($3::timestamptz IS NULL OR created_at < $3)
            GROUP BY referee_ref
        )
        SELECT count(*) AS scored,
            count(*) FILTER (WHERE active AND shadow) AS flagged_by_both,
            count(*) FILTER (WHERE active AND NOT shadow) AS flagged_by_active_only,
            count(*) FILTER (WHERE shadow AND NOT active) AS flagged_by_shadow_only,
            count(*) FILTER (WHERE shadow AND NOT active AND verdict IS DISTINCT FROM 'confirmed')
                AS shadow_only_cleared,
            coalesce(sum(amount_micro) FILTER (WHERE shadow), 0)::bigint AS withheld_micro
        FROM both_scored
        LEFT JOIN risk_assessments USING (referee_ref)
        LEFT JOIN bonuses USING (referee_ref)
        """,
        version,
        from_time,
        to_time,
    )
    if row is None:
        raise AssertionError
    return ShadowReport(**dict(row))
