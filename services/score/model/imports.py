"""Files of scores and the snapshots they become."""

from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

MAX_SCORE: Final = 10**30


class ScoreFormat(IntEnum):
    """Numbers of creator.score.v1.ScoreFormat."""

    CSV = 1
    JSON_LINES = 2


class ImportState(IntEnum):
    """reading → accepted | awaiting_approval | refused; awaiting_approval → accepted | rejected."""

    READING = 1
    ACCEPTED = 2
    AWAITING_APPROVAL = 3
    REFUSED = 4
    REJECTED = 5


class Header(NamedTuple):
    """What comes before a file; `sha256` is empty where the sender gave none."""

    period: str
    format: ScoreFormat
    decimals: int
    taken_at: datetime
    source: str
    sha256: bytes
    operator_id: str
    reason: str


class Line(NamedTuple):
    """A good line of a file: `address` are 20 bytes, `score` a whole number up to 10^30."""

    number: int
    address: bytes
    score: int


class BadLine(NamedTuple):
    """A line that is none, and why."""

    number: int
    reason: str
    text: str


class ScoreImport(NamedTuple):
    """One file of scores, as far as it is read."""

    import_id: UUID
    period: str
    state: ImportState
    source: str
    sha256: bytes | None
    bytes: int
    lines: int
    bad_lines: int
    wallets: int
    total_score: int
    former_total_score: int | None
    snapshot_id: UUID | None
    operator_id: str
    decided_by: str | None
    taken_at: datetime
    started_at: datetime
    ended_at: datetime | None


class Snapshot(NamedTuple):
    """Scores of all wallets at one time: immutable."""

    snapshot_id: UUID
    period: str
    import_id: UUID
    wallets: int
    total_score: int
    taken_at: datetime
    accepted_at: datetime
