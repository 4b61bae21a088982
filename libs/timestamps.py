"""google.protobuf.Timestamp on the wire, an aware datetime inside; PostgreSQL keeps microseconds, so both do."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from libs.refusals import InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799
_SECOND_NS = 1_000_000_000
_DAY_SECONDS = 86_400


class InvalidTimestamp(InvalidArgument):
    """A timestamp lies between the years 1 and 9999."""


def to_datetime(timestamp: Timestamp, *, field: str | None = None) -> datetime:
    """Aware UTC; nanoseconds are rounded down to microseconds. Raises InvalidTimestamp, naming `field` where given."""
    seconds, nanos = timestamp.seconds, timestamp.nanos
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS or not 0 <= nanos < _SECOND_NS:
        raise InvalidTimestamp(field=field)
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def to_timestamp(moment: datetime) -> Timestamp:
    """Exact; raises TypeError for a naive datetime, which names no instant."""
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * _DAY_SECONDS + since.seconds, nanos=since.microseconds * 1000)
