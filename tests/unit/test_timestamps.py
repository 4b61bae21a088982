from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from libs.ids import new_id
from libs.timestamps import InvalidTimestamp, to_datetime, to_timestamp

# seconds, nanoseconds │ the instant in microseconds
INSTANTS = [
    (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
    (0, 999, datetime(1970, 1, 1, tzinfo=UTC)),
    (-1, 999_999_999, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    (1_772_323_199, 999_999_000, datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)),
    (-62_135_596_800, 0, datetime(1, 1, 1, tzinfo=UTC)),
    (253_402_300_799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
]


@pytest.mark.parametrize(("seconds", "nanos", "instant"), INSTANTS)
def test_nanoseconds_are_rounded_down(seconds: int, nanos: int, instant: datetime) -> None:
    assert to_datetime(Timestamp(seconds=seconds, nanos=nanos)) == instant
    assert to_timestamp(instant) == Timestamp(seconds=seconds, nanos=nanos // 1000 * 1000)


def test_an_instant_is_the_same_in_every_time_zone() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert to_timestamp(noon.astimezone(timezone(timedelta(hours=-7)))) == to_timestamp(noon)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (2**63 - 1, 0), (0, -1), (0, 10**9)]
)
def test_a_timestamp_out_of_range_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidTimestamp) as refused:
        to_datetime(Timestamp(seconds=seconds, nanos=nanos), field="finalized_at")
    assert refused.value.data == {"field": "finalized_at"}


def test_a_naive_datetime_is_no_instant() -> None:
    with pytest.raises(TypeError):
        to_timestamp(datetime(2026, 3, 1))  # noqa: DTZ001


def test_ids_are_time_ordered_uuids() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {each.version for each in ids} == {7}
