"""What may be asked of the books by time."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, NotFound
from services.distribution.model.statements import Cursor

MAX_PAGE: Final = 1000
PAGE: Final = 200
HOUR: Final = timedelta(hours=1)
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 12, 31, tzinfo=UTC)
BEFORE_ALL: Final = str(UUID(int=0))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EntriesPageInvalid(InvalidArgument):
    """A page has 1 to 1000 entries, and its token is one that an answer gave."""


class StatementPeriodInvalid(InvalidArgument):
    """A period has a first instant, and ends no earlier than it begins."""


class InstantMissing(InvalidArgument):
    """A balance is asked for at an instant."""


class TransferIdInvalid(InvalidArgument):
    """A transfer's id is a UUID."""


class TransferUnknown(NotFound):
    """No such transfer."""


def check_page(size: int) -> int:
    """Return the size of a page of entries."""
    if not 0 <= size <= MAX_PAGE:
        raise EntriesPageInvalid(field="page_size", limit=MAX_PAGE)
    return size or PAGE


def check_period(start: datetime, end: datetime) -> None:
    """Raise StatementPeriodInvalid."""
    if end < start:
        raise StatementPeriodInvalid(field="to_time")


def check_transfer_id(transfer_id: str) -> str:
    """Return a transfer's id in its one spelling."""
    try:
        return str(UUID(transfer_id))
    except ValueError:
        raise TransferIdInvalid(field="transfer_id") from None


def token_of(cursor: Cursor) -> str:
    """Spell a place in the order of recording."""
    return f"{(cursor.recorded_at - _EPOCH) // timedelta(microseconds=1)}.{UUID(cursor.transfer_id).hex}"


def read_token(token: str, refusal: type[InvalidArgument] = EntriesPageInvalid) -> Cursor:
    """Read a place back; raises the refusal."""
    instant, _, identity = token.partition(".")
    try:
        return Cursor(_EPOCH + timedelta(microseconds=int(instant)), str(UUID(hex=identity)))
    except (ValueError, OverflowError):
        raise refusal(field="page_token") from None


def read_leg(token: str) -> int:
    """Read how many legs of a transfer were told before."""
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) <= 9):  # noqa: PLR2004 - fits 32 bits
        raise EntriesPageInvalid(field="page_token")
    return int(token)


def hour_of(instant: datetime) -> datetime:
    """Return the beginning of the hour that an instant is in."""
    return instant - (instant - BEGINNING) % HOUR
