"""From a request's schema to a message of the protocol, and from a message to an answer's schema."""

from datetime import datetime
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from gateway.derived.shapes import TIMESTAMP, reply, words
from gateway.problems import BodyInvalid, QueryInvalid
from gateway.schemas.problem import FieldProblem
from gateway.schemas.wire import Query, Reply
from libs.timestamps import to_datetime, to_timestamp


def packed(kind: Descriptor, *parts: Struct | None) -> Message:
    """A message of all that the parts say; what they leave out stays out."""
    message = GetMessageClass(kind)()
    for part in parts:
        for name in part.__struct_fields__ if part is not None else ():
            _put(message, kind.fields_by_name[name], getattr(part, name), part)
    return message


def unpacked(message: Message) -> Reply:
    """The schema of a message, filled from it."""
    kind = message.DESCRIPTOR
    return reply(kind)(**{each.name: _got(message, each) for each in kind.fields})


def _put(message: Message, field: FieldDescriptor, value: Any, part: Struct | None) -> None:
    if value is None:
        return
    # Of alternatives the last one given would win in silence.
    if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
        problem, pointer = (QueryInvalid, "?") if isinstance(part, Query) else (BodyInvalid, "#/")
        wrong = FieldProblem(pointer=f"{pointer}{field.name}", detail="An alternative is given as well.")
        raise problem(errors=(wrong,))
    if field.is_repeated:
        getattr(message, field.name).extend(_into(field, each) for each in value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_into(field, value))
    else:
        setattr(message, field.name, _into(field, value))


def _into(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, datetime):
        return to_timestamp(value)
    if field.message_type is not None:
        return packed(field.message_type, value)
    if field.enum_type is not None:
        return next(number for number, word in words(field.enum_type).items() if word == value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes.fromhex(value)
    return int(value) if field.name.endswith("_micro") else value


def _got(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_out(field, each) for each in value]
    if _is_absent(message, field):
        return None
    return _out(field, value)


def _is_absent(message: Message, field: Any) -> bool:
    if field.message_type is not None:
        return not message.HasField(field.name)
    return field.name == "next_page_token" and not getattr(message, field.name)


def _out(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return to_datetime(value) if field.message_type.full_name == TIMESTAMP else unpacked(value)
    if field.enum_type is not None:
        # A number that this version has no word for is told as none.
        return words(field.enum_type).get(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value.hex()
    return str(value) if field.name.endswith("_micro") else value
