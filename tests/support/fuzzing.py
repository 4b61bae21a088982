"""Random messages of the protocol, and every method that takes one."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ("referral", "distribution", "payout", "score", "leaderboard")

_INT32, _INT64 = 2**31 - 1, 2**63 - 1
_BOUNDS: Final = {
    FieldDescriptor.TYPE_INT32: (-_INT32 - 1, _INT32),
    FieldDescriptor.TYPE_INT64: (-_INT64 - 1, _INT64),
    FieldDescriptor.TYPE_UINT32: (0, 2 * _INT32 + 1),
    FieldDescriptor.TYPE_UINT64: (0, 2 * _INT64 + 1),
}

# Words that lead somewhere, so that calls meet what other calls left behind, and words that lead astray.
_UUIDS: Final = ("01a1fd67-0b1b-7218-87c9-4b7f810c7373", "7f3c0f3e-5b0a-4c5e-9d57-111111111111", "0" * 32)
_NAMES: Final = (
    "a", "somebody", "an operator", "order-1", "charge-1", "commons", "foundation", "community:artists", "2026-11",
    "treasury:payout_reserve", "platform:operating", f"creator:{_UUIDS[0]}:pending", "2026-W47", "2026-11-21", "other",
    "USDTERC20", "eth", "0x" + "ab" * 20, "0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe", "0" * 64, "0123456789",
    "gpt-4o", "referral.registrations.v1", "distribution.finalized.v1", "{}", "[]",
    '{"contract_version": "8.7.0"}', "AAAA",
)  # fmt: skip
_ASTRAY: Final = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\n",
    "é",
    "\U0001f980",
    "\u202e",
    "'; DROP TABLE accounts; --",
    "%s",
    "x" * 200,
    "x" * 5000,
)

_RIGHT: Final = {
    "account_id": ("somebody", "an operator"),
    "account_name": ("commons", "treasury:payout_reserve"),
    "account_names": ("commons", "foundation"),
    "name_prefix": ("c", "treasury:"),
    "from_day": ("2026-11-01",),
    "to_day": ("2026-11-20",),
    "operator_id": ("an operator", "another"),
    "page_token": ("",),
    "period": ("2026-10", "2026-W45"),
    "reason": ("because", "REINSTATED"),
    "topic": ("referral.registrations.v1", "distribution.finalized.v1"),
}
"""What looks right where a name alone does not say it."""

NOW: Final = 1_795_000_000

TEXTS: Final = (
    st.sampled_from(_UUIDS)
    | st.sampled_from(_NAMES)
    | st.sampled_from(_ASTRAY)
    | st.text(st.characters(codec="utf-8"), max_size=40)
)


@dataclass(frozen=True)
class Target:
    """One method of one service, and the process that answers it."""

    service: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def message(self, **fields: Any) -> Message:
        """A message that the method takes."""
        return _made(self.method.input_type, fields)


def targets() -> Iterator[Target]:
    """Every method of the protocol; the event log's at each of its owners."""
    for file in sorted(ROOT.glob("protos/*/v1/*.proto")):
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts) + "_pb2")
        package = file.parts[-3]
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for owner in SERVICES if package == "events" else (package,):
                    yield Target(owner, method)


def messages(kind: Descriptor, depth: int = 3) -> st.SearchStrategy[Message]:
    """Any message of this kind: each field left out, at its bounds, or anything."""
    fields = {field.name: _field(field, depth) for field in kind.fields if depth or field.message_type is None}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: _made(kind, given))


def nearly(kind: Descriptor) -> st.SearchStrategy[Message]:
    """A message that looks right in all its fields, but perhaps for one: so calls get past their first checks."""
    right = st.fixed_dictionaries(
        {field.name: _plausible(field) for field in kind.fields if not _is_later_choice(field)}
    )
    if not kind.fields:
        return st.just(_made(kind, {}))
    wrong = st.sampled_from(list(kind.fields)).flatmap(lambda field: st.tuples(st.just(field.name), _field(field, 2)))
    return st.builds(lambda plain, other: _made(kind, plain | dict(other)), right, st.lists(wrong, max_size=1))


def _is_later_choice(field: FieldDescriptor) -> bool:
    """Whether it is an alternative but the first: setting it would unset that."""
    return field.containing_oneof is not None and field.containing_oneof.fields[0].name != field.name


def _plausible(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    one = _right(field)
    return st.lists(one, min_size=1, max_size=2) if field.is_repeated else one


def _right(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return st.integers(NOW - 10_000_000, NOW).map(lambda at: Timestamp(seconds=at))
        return nearly(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([each.number for each in field.enum_type.values if each.number])
    if field.type != FieldDescriptor.TYPE_STRING:
        return st.integers(1, 50) if field.type in _BOUNDS else _value(field, 1)
    if field.name == "request_id":
        return st.uuids().map(str)
    if field.name in _RIGHT:
        return st.sampled_from(_RIGHT[field.name])
    return st.sampled_from(_UUIDS[:2]) if field.name.endswith(("_id", "_ref")) else st.sampled_from(_NAMES)


def _made(kind: Descriptor, given: dict[str, Any]) -> Message:
    return GetMessageClass(kind)(**given)


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    one = _value(field, depth)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return _timestamps()
        return messages(field.message_type, depth - 1)
    if field.enum_type is not None:
        return st.sampled_from([each.number for each in field.enum_type.values]) | st.sampled_from([-1, 99, _INT32])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=64)
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXTS
    least, most = _BOUNDS[field.type]
    return st.integers(0, 20) | st.sampled_from([1_000_000, least, most]) | st.integers(least, most)


def _timestamps() -> st.SearchStrategy[Message]:
    seconds = st.integers(NOW - 10_000_000, NOW) | st.sampled_from(
        [0, -_INT64 - 1, _INT64, -62_135_596_801, 253_402_300_800]
    )
    nanos = st.just(0) | st.sampled_from([-1, 999_999_999, 1_000_000_000])
    return st.builds(lambda at, rest: Timestamp(seconds=at, nanos=rest), seconds, nanos)
