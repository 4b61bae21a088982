"""JSON as JavaScript writes it, keys sorted: what the provider signs. Source: ECMA-262, Number::toString."""

import json
from decimal import Decimal
from typing import Final

from libs.nesting import DEPTH_MAX, shallow

_EXACT_MAX: Final = 2**53 - 1
_INDEX_MAX: Final = 2**32 - 1
_PLAIN_DIGITS_MAX: Final = 21
_PLAIN_ZEROS_MAX: Final = 6
Json = dict[str, "Json"] | list["Json"] | str | int | Decimal | bool | None


class Unreadable(ValueError):
    """No JSON object, or one that two parsers could read in two ways."""


def parse(raw: bytes) -> dict[str, Json]:
    """The object in `raw`, numbers exact. Raises Unreadable.

    Refused are duplicate keys, integers that JavaScript cannot hold, NaN, lone surrogates, and deep nesting: whatever
    has one signature and two meanings.
    """
    try:
        body = json.loads(
            shallow(raw).decode("utf-8"),
            parse_int=_integer,
            parse_float=Decimal,
            parse_constant=_constant,
            object_pairs_hook=_once,
        )
        _look(body, DEPTH_MAX)
    except ValueError:
        raise Unreadable from None
    if not isinstance(body, dict):
        raise Unreadable
    return body


def canonical(value: Json, *, arrays_as_objects: bool = False) -> str:
    """`value` with its keys sorted, compact; `arrays_as_objects` as one of the documented recipes has it."""
    if isinstance(value, list):
        items = [canonical(each, arrays_as_objects=arrays_as_objects) for each in value]
        if not arrays_as_objects:
            return f"[{','.join(items)}]"
        return "{" + ",".join(f'"{index}":{item}' for index, item in enumerate(items)) + "}"
    if isinstance(value, dict):
        pairs = (f"{_text(key)}:{canonical(value[key], arrays_as_objects=arrays_as_objects)}" for key in _sorted(value))
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return number(value)


def number(value: Decimal | float) -> str:
    """A number as JavaScript prints it: the shortest digits that read back as the same double."""
    try:
        double = float(value)
    except OverflowError:
        return "null"
    if double != double or double in {float("inf"), float("-inf")}:  # noqa: PLR0124
        return "null"
    if not double:
        return "0"
    sign, digits, exponent = Decimal(repr(double)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - infinities are gone
    return ("-" if sign else "") + _place("".join(map(str, digits)), len(digits) + exponent)


def _place(digits: str, point: int) -> str:
    """Digits with their decimal point after the first `point` of them."""
    count = len(digits)
    if count <= point <= _PLAIN_DIGITS_MAX:
        return digits + "0" * (point - count)
    if 0 < point <= _PLAIN_DIGITS_MAX:
        return f"{digits[:point]}.{digits[point:]}"
    if -_PLAIN_ZEROS_MAX < point <= 0:
        return "0." + "0" * -point + digits
    exponent = point - 1
    return f"{digits[0]}{'.' if count > 1 else ''}{digits[1:]}e{'+' if exponent >= 0 else '-'}{abs(exponent)}"


def _sorted(value: dict[str, Json]) -> list[str]:
    """Integer-like keys in their order, then the others by UTF-16 code unit."""
    whole = sorted((key for key in value if _is_index(key)), key=int)
    rest = sorted((key for key in value if not _is_index(key)), key=lambda key: key.encode("utf-16-be"))
    return whole + rest


def _is_index(key: str) -> bool:
    plain = key.isascii() and key.isdigit() and len(key) <= 10  # noqa: PLR2004 - digits of 2**32
    return plain and str(int(key)) == key and int(key) < _INDEX_MAX


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _EXACT_MAX:  # noqa: PLR2004 - a sign and 16 digits
        raise Unreadable
    return int(text)


def _constant(_text: str) -> None:
    raise Unreadable


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable
    return found


def _look(value: Json, left: int) -> None:
    if not left:
        raise Unreadable
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for key, each in value.items():
            key.encode("utf-8")
            _look(each, left - 1)
    elif isinstance(value, list):
        for each in value:
            _look(each, left - 1)
