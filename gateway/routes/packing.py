"""From protobuf to what JSON says."""

from datetime import datetime
from typing import Any

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from gateway.derived.words import upper_snake
from libs.timestamps import to_datetime


def instant(message: Message, field: str) -> datetime | None:
    """A timestamp field; None where it is absent."""
    return to_datetime(getattr(message, field)) if message.HasField(field) else None


def word(enum: Any, value: int) -> Any:
    """An enum value without the enum's name: CODE_STATE_ACTIVE → "active"."""
    wrapper: EnumTypeWrapper = enum
    prefix = upper_snake(wrapper.DESCRIPTOR.name) + "_"
    return wrapper.Name(value).removeprefix(prefix).lower()
