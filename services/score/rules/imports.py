"""Which files of scores are taken."""

import re
from datetime import datetime, timedelta
from typing import Final

from libs.four_eyes import is_same_person
from libs.money import BPS
from libs.periods import read_period
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted
from services.score.model.imports import Header, ImportState, ScoreFormat, ScoreImport, Snapshot

MAX_DECIMALS: Final = 30
_SHA256_BYTES: Final = 32
_SOURCE: Final = re.compile(r"[ -~]{1,200}")
_FUTURE: Final = timedelta(minutes=5)


class ImportHeaderMissing(InvalidArgument):
    """An import begins with its header, and has one only."""


class ImportFormatInvalid(InvalidArgument):
    """A file of scores is CSV or JSON Lines."""


class ImportStateInvalid(InvalidArgument):
    """No such state of an import."""


class ImportDecimalsInvalid(InvalidArgument):
    """Scores have 0 to 30 decimals."""


class ImportSourceInvalid(InvalidArgument):
    """A source is 1 to 200 printable ASCII characters."""


class ImportHashInvalid(InvalidArgument):
    """A SHA-256 has 32 bytes."""


class ImportTimeInvalid(InvalidArgument):
    """Scores were taken at some time, and not in the future."""


class ImportTooLarge(ResourceExhausted):
    """The file is larger than may be imported at once."""


class ImportChunkTooLarge(InvalidArgument):
    """A piece of a file has at most 1 MiB."""


class ImportHashMismatch(FailedPrecondition):
    """The file is not the one whose SHA-256 was told; nothing was taken."""


class PeriodRewarded(AlreadyExists):
    """The period was rewarded; its scores are what they were."""


class ImportNotAwaiting(FailedPrecondition):
    """The import does not wait for anybody's approval."""


class ImportApproverSame(PermissionDenied):
    """Who brought an import cannot approve it."""


def check_header(header: Header, now: datetime) -> Header:
    """Return what comes before a file, or raise what is wrong with it."""
    read_period(header.period)
    if not 0 <= header.decimals <= MAX_DECIMALS:
        raise ImportDecimalsInvalid(field="decimals")
    if not _SOURCE.fullmatch(header.source):
        raise ImportSourceInvalid(field="source")
    if len(header.sha256) not in (0, _SHA256_BYTES):
        raise ImportHashInvalid(field="sha256")
    if header.taken_at > now + _FUTURE:
        raise ImportTimeInvalid(field="taken_at")
    return header


def check_format(number: int) -> ScoreFormat:
    """Return a format; raises ImportFormatInvalid."""
    try:
        return ScoreFormat(number)
    except ValueError:
        raise ImportFormatInvalid(field="format") from None


def check_state(number: int) -> ImportState | None:
    """Return the state that is asked for, None for all; raises ImportStateInvalid."""
    try:
        return ImportState(number) if number else None
    except ValueError:
        raise ImportStateInvalid(field="state") from None


def moved_too_far(total: int, former: Snapshot | None, swing_bps: int) -> bool:
    """Whether a total differs from the former one by more than may pass unseen."""
    if former is None:
        return False
    return abs(total - former.total_score) * BPS > swing_bps * former.total_score


def check_deciding(found: ScoreImport, operator_id: str) -> None:
    """Raise ImportNotAwaiting, ImportApproverSame."""
    if found.state is not ImportState.AWAITING_APPROVAL:
        raise ImportNotAwaiting
    if is_same_person(found.operator_id, operator_id):
        raise ImportApproverSame


def is_stale(snapshot: Snapshot, now: datetime, max_age_days: int) -> bool:
    """Whether scores are too old to reward anybody by."""
    return now - snapshot.taken_at > timedelta(days=max_age_days)
