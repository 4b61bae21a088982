"""What the scheduled pull saw last."""

from datetime import datetime
from typing import NamedTuple

from libs.postgres import Connection


class Seen(NamedTuple):
    """The mark that the source gave, and the hash of what it sent."""

    etag: str
    sha256: bytes | None


async def find(connection: Connection, url_hash: bytes) -> Seen:
    """What was seen of an address; nothing, at first."""
    row = await connection.fetchrow("SELECT etag, sha256 FROM pulls WHERE url_hash = $1", url_hash)
    return Seen(row["etag"], row["sha256"]) if row else Seen("", None)


async def save(connection: Connection, url_hash: bytes, seen: Seen, now: datetime) -> None:
    """Remembers what was seen."""
    await connection.execute(
        """
        INSERT INTO pulls (url_hash, etag, sha256, pulled_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (url_hash) DO UPDATE
        SET etag = excluded.etag, sha256 = excluded.sha256, pulled_at = excluded.pulled_at
        """,
        url_hash,
        *seen,
        now,
    )
