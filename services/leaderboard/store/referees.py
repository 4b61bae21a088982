"""SQL of referees: who came by whom, and whether that counts."""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from libs.postgres import Connection
from services.leaderboard.model import Flag, Referee


class Known(NamedTuple):
    """What is known of a registration: perhaps only its flag."""

    flag: Flag
    referee: Referee | None


async def add(connection: Connection, referees: Collection[Referee]) -> dict[UUID, bool]:
    """Keeps who came, in the order of their surrogates; returns who was not known, and whether they count."""
    rows = await connection.fetch(
        """
        INSERT INTO referees AS known (referee_ref, referrer_ref, registered_at, channel, registered_on)
        SELECT referee_ref, referrer_ref, registered_at, channel, (registered_at AT TIME ZONE 'UTC')::date
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[])
            AS came (referee_ref, referrer_ref, registered_at, channel)
        ON CONFLICT (referee_ref) DO UPDATE SET
            referrer_ref = excluded.referrer_ref, registered_at = excluded.registered_at,
            channel = excluded.channel, registered_on = excluded.registered_on
        WHERE known.registered_on IS NULL
        RETURNING referee_ref, NOT flagged AS counts
        """,
        *map(list, zip(*sorted(referees), strict=True)),
    )
    return {row["referee_ref"]: row["counts"] for row in rows}


async def lock(connection: Connection, referee_refs: Sequence[UUID]) -> list[Known]:
    """What is known of registrations, for who changes their flags; they are in the order of their surrogates.

    A registration that is not known gets its row here, so that whoever tells of it waits.
    """
    await connection.execute(
        "INSERT INTO referees (referee_ref) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING", referee_refs
    )
    rows = await connection.fetch(
        """
        SELECT referee_ref, referrer_ref, registered_at, channel, flagged, flag_revision FROM referees
        WHERE referee_ref = ANY ($1::uuid[]) ORDER BY referee_ref FOR UPDATE
        """,
        referee_refs,
    )
    return [
        Known(
            Flag(row["referee_ref"], row["flagged"], row["flag_revision"]),
            Referee(*list(row)[:4]) if row["registered_at"] else None,
        )
        for row in rows
    ]


async def flag(connection: Connection, flags: Sequence[Flag]) -> None:
    """Keeps flags of registrations that are locked."""
    await connection.execute(
        """
        UPDATE referees SET flagged = told.flagged, flag_revision = told.revision
        FROM unnest($1::uuid[], $2::boolean[], $3::bigint[]) AS told (referee_ref, flagged, revision)
        WHERE referees.referee_ref = told.referee_ref
        """,
        *map(list, zip(*flags, strict=True)),
    )
