"""Schemas made from messages of the protocol.

Amounts become decimal strings, enums lower-case words, timestamps RFC 3339, bytes hexadecimal. A request's numbers and
texts are bounded by their type; what they mean is judged by the service.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Meta, defstruct

from gateway.derived.words import said, upper_snake
from gateway.schemas.wire import AccountId, Amount, Cursor, Instant, Micro, Query, Reply, Request

MAX_INT32: Final = 2**31 - 1
MAX_INT64: Final = 2**63 - 1
TIMESTAMP: Final = Timestamp.DESCRIPTOR.full_name

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$", description="Hexadecimal.")]
Segment = Annotated[str, Meta(min_length=1, max_length=256)]
Uuid = Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Address = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{40}$")]

_SHAPES: Final[dict[str, Any]] = {"UUID": Uuid, "EVM address": Address}
"""Names in a path by how the protocol begins to speak of them."""

_INTEGERS: Final = {FieldDescriptor.TYPE_INT32: MAX_INT32, FieldDescriptor.TYPE_INT64: MAX_INT64}


@cache
def reply(message: Descriptor) -> type[Reply]:
    """What an answer of the protocol looks like in JSON: every member is there."""
    fields = [(each.name, _described(each, _outgoing(each))) for each in message.fields]
    return _struct(message.name, Reply, fields, message)


@cache
def nested(message: Descriptor) -> type[Request]:
    """A message within a body; all its members are wanted."""
    return body(f"Given{message.name}", message, message.fields)


def body(
    name: str, message: Descriptor, fields: Iterable[FieldDescriptor], optional: Collection[str] = ()
) -> type[Request]:
    """A body of these fields. Alternatives (oneof) are never wanted all."""
    made = (_incoming(each, needed=each.name not in optional and not each.containing_oneof) for each in fields)
    return _struct(name, Request, made, message)


def query(
    name: str, message: Descriptor, fields: Iterable[FieldDescriptor], needed: Collection[str] = ()
) -> type[Request]:
    """Query parameters of these fields."""
    return _struct(name, Query, (_incoming(each, needed=each.name in needed) for each in fields), message)


def path(name: str, message: Descriptor, fields: Iterable[FieldDescriptor]) -> type[Request]:
    """The names in a path."""
    kinds = ((each.name, _described(each, _segment(each))) for each in fields)
    return _struct(name, Request, kinds, message)


@cache
def words(enum: EnumDescriptor) -> dict[int, str]:
    """The words of an enum by their numbers: CODE_STATE_ACTIVE → "active". Zero has none: it says nothing."""
    prefix = upper_snake(enum.name) + "_"
    return {each.number: each.name.removeprefix(prefix).lower() for each in enum.values if each.number}


def _struct(name: str, base: type, fields: Iterable[Any], message: Descriptor) -> type[Any]:
    # Required members come first: whoever calls by position is nobody.
    ordered = sorted(fields, key=len)
    described = {"__doc__": said(message) or name}
    made: type[Any] = defstruct(name, ordered, bases=(base,), module=__name__, namespace=described)
    return made


def _incoming(field: FieldDescriptor, *, needed: bool) -> tuple[Any, ...]:
    kind: Any = _asked(field)
    default: list[Any] | None = None
    if field.is_repeated:
        kind, default = list.__class_getitem__(kind), []
    elif not needed:
        kind |= None
    return (field.name, _described(field, kind), *(() if needed else (default,)))


def _asked(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return Annotated[datetime, Meta(tz=True)] if _is_timestamp(field) else nested(field.message_type)
    if field.type in _INTEGERS:
        return Amount if field.name.endswith("_micro") else _number(field, 0)
    if field.type == FieldDescriptor.TYPE_STRING:
        return {"account_id": AccountId, "page_token": Cursor}.get(field.name, str)
    return _common(field)


def _outgoing(field: FieldDescriptor) -> Any:
    kind: Any
    if field.message_type is not None:
        kind = Instant if _is_timestamp(field) else reply(field.message_type)
        kind = kind if field.is_repeated else kind | None
    elif field.type in _INTEGERS:
        kind = Micro if field.name.endswith("_micro") else int
    elif field.type == FieldDescriptor.TYPE_STRING:
        kind = str | None if field.name == "next_page_token" else str
    elif field.enum_type is not None and not field.is_repeated:
        kind = _common(field) | None
    else:
        kind = _common(field)
    return list.__class_getitem__(kind) if field.is_repeated else kind


def _common(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return Literal[tuple(words(field.enum_type).values())]
    return {FieldDescriptor.TYPE_BOOL: bool, FieldDescriptor.TYPE_BYTES: Hex}[field.type]


def _segment(field: FieldDescriptor) -> Any:
    # What is known by its shape is bound to it, so that no word beside it in the path can be taken for one.
    if field.type in _INTEGERS:
        return _number(field, 1)
    return next((shape for start, shape in _SHAPES.items() if said(field).startswith(start)), Segment)


def _number(field: FieldDescriptor, least: int) -> Any:
    return Annotated[int, Meta(ge=1 if field.name == "page_size" else least, le=_INTEGERS[field.type])]


def _described(field: FieldDescriptor, kind: Any) -> Any:
    comment = said(field)
    return Annotated[kind, Meta(description=comment)] if comment else kind


def _is_timestamp(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == TIMESTAMP
