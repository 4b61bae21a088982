"""From bytes to what a route takes, strictly: nothing is guessed, repaired or overlooked."""

import json
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Final, Never, TypeVar, Union, get_args, get_origin
from urllib.parse import quote

import msgspec

from gateway.problems import BodyInvalid, BodyMalformed, PathInvalid, Problem, QueryInvalid
from gateway.schemas.problem import FieldProblem
from libs.nesting import TooDeep, shallow

ShapeT = TypeVar("ShapeT", bound=msgspec.Struct)

MAX_SHOWN: Final = 100

_PATH: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_FIELD: Final = re.compile(r"^Object (?P<how>contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_TRUTH: Final = {"true": True, "false": False}
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


def read_body(raw: bytes, shape: type[ShapeT]) -> ShapeT:
    """A JSON body; raises BodyMalformed for what is not clean JSON and BodyInvalid for what is not of the shape."""
    tree = parse_json(raw)
    try:
        return msgspec.convert(tree, shape)
    except msgspec.ValidationError as error:
        where, detail = _explained(str(error))
        pointer = "#" + "".join(f"/{_escaped(step)}" for step in where)
        raise BodyInvalid(errors=(FieldProblem(pointer=pointer, detail=detail),)) from None


def read_query(pairs: Sequence[tuple[str, str]], shape: type[ShapeT]) -> ShapeT:
    """Query parameters as they came; raises QueryInvalid for one that is unknown, given twice or not of the shape."""
    several = {field.encode_name for field in msgspec.structs.fields(shape) if _is(field.type, list)}
    wanted: dict[str, Any] = {}
    for name, value in pairs:
        if name in several:
            wanted.setdefault(name, []).append(value)
        elif name in wanted:
            raise _bad_query(name, "Given more than once.")
        else:
            wanted[name] = value
    try:
        return msgspec.convert(_typed(wanted, shape), shape)
    except msgspec.ValidationError as error:
        where, detail = _explained(str(error))
        raise _bad_query(where[0] if where else "", detail) from None


def read_path(names: Mapping[str, str], shape: type[ShapeT]) -> ShapeT:
    """The names in a path; raises PathInvalid."""
    try:
        return msgspec.convert(_typed(names, shape), shape)
    except msgspec.ValidationError as error:
        where, detail = _explained(str(error))
        name = where[0] if where else ""
        raise PathInvalid(errors=(FieldProblem(pointer=f"{{{name}}}", detail=detail),)) from None


def refuse_query(pairs: Sequence[tuple[str, str]]) -> None:
    """Raises QueryInvalid where a route that takes no parameters is given one."""
    for name, _ in pairs:
        raise _bad_query(name, "Unknown.")


def parse_json(raw: bytes) -> object:
    """Plain JSON values: UTF-8, no name twice, no NaN, no broken text, not deep. Raises BodyMalformed."""
    try:
        tree: object = json.loads(
            shallow(raw).decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise BodyMalformed("The body is not UTF-8.") from None
    except TooDeep:
        raise BodyMalformed("The body is nested too deeply.") from None
    except ValueError:
        raise BodyMalformed from None
    _check(tree)
    return tree


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise BodyMalformed("The body has a name twice in one object.")
    return members


def _refuse_constant(_name: str) -> Never:
    raise BodyMalformed


def _check(value: object) -> None:
    if isinstance(value, str) and not _is_text(value):
        raise BodyMalformed("The body holds half a character.")
    if isinstance(value, list):
        for item in value:
            _check(item)
    if isinstance(value, dict):
        for name, item in value.items():
            _check(name)
            _check(item)


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: a lone surrogate cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _explained(message: str) -> tuple[list[str], str]:
    """The steps to what is wrong, and what is wrong with it, from msgspec's message."""
    split = _PATH.match(message)
    assert split is not None  # noqa: S101 - every part of the pattern is optional
    steps = [name or index for name, index in _STEP.findall(split["path"] or "")]
    missing = _FIELD.match(split["what"])
    if missing is None:
        return steps, split["what"].replace("`", "") + "."
    steps.append(missing["name"][:MAX_SHOWN])
    return steps, "Unknown." if "unknown" in missing["how"] else "Required."


def _escaped(step: str) -> str:
    """A step of a JSON Pointer within a URI fragment (RFC 6901, section 6)."""
    return quote(step.replace("~", "~0").replace("/", "~1"), safe="~", errors="replace")


def _typed(texts: Mapping[str, Any], shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Texts with the whole numbers and truth values read: lax conversion would take "1e2" and "on" for some."""
    read = dict(texts)
    for field in msgspec.structs.fields(shape):
        text = read.get(field.encode_name)
        if not isinstance(text, str):
            continue
        if _is(field.type, int) and _WHOLE.fullmatch(text):
            read[field.encode_name] = int(text)
        elif _is(field.type, bool):
            read[field.encode_name] = _TRUTH.get(text, text)
    return read


def _is(kind: Any, wanted: type) -> bool:
    """Whether a field's type is this one: bare, with bounds or words, in a list, or perhaps absent."""
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return any(_is(each, wanted) for each in get_args(kind))
    if get_origin(kind) is Annotated:
        return _is(get_args(kind)[0], wanted)
    return kind is wanted or get_origin(kind) is wanted


def _bad_query(name: str, detail: str) -> Problem:
    pointer = "?" + quote(name[:MAX_SHOWN], safe="", errors="replace")
    return QueryInvalid(errors=(FieldProblem(pointer=pointer, detail=detail),))
