"""Writes docs/rest.md and docs/grpc.md from the routes' declarations and the protos (`make docs`)."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from gateway import openapi
from gateway.route import Route
from gateway.routes import PRODUCT

PROJECT = Path(__file__).resolve().parents[1]
_WRITTEN = "Written by `make docs`; do not edit."
_BOUNDS = ("format", "minimum", "maximum", "minLength", "maxLength", "pattern", "default")
# Where descriptor.proto keeps a file's messages, enumerations and services, and what each of them holds.
_MESSAGES, _ENUMS, _SERVICES, _HELD = 4, 5, 6, 2

Noted = Mapping[tuple[int, ...], str]
"""A file's comments by the numbers of fields that lead to what they are about."""


def rest() -> str:
    """Every route with what it takes and gives, then every schema."""
    document = openapi.document(PRODUCT)
    own = {code for route in PRODUCT for codes in route.problems.values() for code in codes}
    common = sorted({code for route in PRODUCT for codes in openapi.statuses(route).values() for code in codes} - own)
    parts = ["# REST", _WRITTEN, document["info"]["description"].strip()]
    parts.append("Any route may say besides, as far as it applies: " + ", ".join(f"`{code}`" for code in common) + ".")
    for tag in document["tags"]:
        parts.append(f"## {tag['name']}")
        for route in PRODUCT:
            if route.tag == tag["name"]:
                parts += _route(route, document["paths"][route.path][route.method.lower()])
    parts.append("## Schemas")
    for name, schema in sorted(document["components"]["schemas"].items()):
        needed = schema.get("required", ())
        rows = [
            (f"`{member}`" + ("" if member in needed else " (may be left out)"), _kind(shape), _said(shape))
            for member, shape in schema["properties"].items()
        ]
        said = [] if _said(schema) == name else [_said(schema)]
        parts += [f"### Schema {name}", *said, *_table(("member", "type", "what"), rows)]
    return "\n\n".join(parts) + "\n"


def _route(route: Route, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{route.method} {route.path}`"
    yield f"{operation['summary']} {operation['description']}"
    takes = [each for each in operation["parameters"] if each["name"] != "X-Request-Id"]
    yield from _table(
        ("parameter", "in", "type", "what"),
        [(f"`{each['name']}`", each["in"], _kind(each["schema"]), each["description"]) for each in takes],
    )
    if body := operation.get("requestBody"):
        yield f"Body: {_content(body)}."
    for status in route.answers:
        yield f"{int(status)}: {_content(operation['responses'][str(int(status))])}."
    if route.problems:
        yield "Refuses: " + "; ".join(
            f"{int(status)} " + ", ".join(f"`{code}`" for code in codes)
            for status, codes in sorted(route.problems.items())
        )  # fmt: skip


def _content(has: Mapping[str, Any]) -> str:
    return ", ".join(
        _kind(media["schema"]) if "$ref" in media["schema"] else kind for kind, media in has["content"].items()
    )


def _kind(shape: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return f"[{name}](#schema-{name.lower()})"
    if "anyOf" in shape:
        return " or ".join(map(_kind, shape["anyOf"]))
    if "enum" in shape:
        return ", ".join(f"`{each}`" for each in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {_kind(shape['items'])}"
    bounds = [f"{word} `{shape[word]}`" for word in _BOUNDS if shape.get(word) is not None]
    return str(shape.get("type", "any")) + (f" ({', '.join(bounds)})" if bounds else "")


def _said(shape: Mapping[str, Any]) -> str:
    return str(shape.get("description", ""))


def grpc() -> str:
    """Every service, then every message and enumeration, package by package, with their comments."""
    packages: dict[str, list[FileDescriptorProto]] = {}
    for file in _compiled():
        packages.setdefault(file.package, []).append(file)
    parts = ["# gRPC and events", _WRITTEN]
    for package, files in packages.items():
        parts.append(f"## {_short(package)}")
        for describe in (_services, _types):
            for file in files:
                noted = {tuple(at.path): " ".join(at.leading_comments.split()) for at in file.source_code_info.location}
                parts += describe(file, noted)
    return "\n\n".join(parts) + "\n"


def _compiled() -> Iterable[FileDescriptorProto]:
    """Our protos as descriptors that have kept their comments."""
    names = sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "protos").rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as made:
        argv = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_source_info", f"-o{made.name}", *names]
        subprocess.run(argv, cwd=PROJECT, check=True)  # noqa: S603 - our own files
        return FileDescriptorSet.FromString(Path(made.name).read_bytes()).file


def _services(file: FileDescriptorProto, noted: Noted) -> Iterator[str]:
    for number, service in enumerate(file.service):
        at = (_SERVICES, number)
        yield from (f"### {_short(file.package)}.{service.name}", noted[at])
        rows = [(f"`{each.name}`", *_ends(each)) for each in service.method]
        yield from _table(("call", "asks", "answers", "what"), _with_comments(rows, noted, at))


def _ends(method: MethodDescriptorProto) -> Iterator[str]:
    sides = (method.input_type, method.client_streaming), (method.output_type, method.server_streaming)
    return (f"stream of {_link(name)}" if streamed else _link(name) for name, streamed in sides)


def _types(file: FileDescriptorProto, noted: Noted) -> Iterator[str]:
    for number, message in enumerate(file.message_type):
        at = (_MESSAGES, number)
        maps = {f".{file.package}.{message.name}.{each.name}": each.field for each in message.nested_type}
        rows = [(f"`{each.name}`", _type(each, maps)) for each in message.field]
        yield f"### {_short(file.package)}.{message.name}"
        yield from filter(None, [noted.get(at)])
        yield from _table(("field", "type", "what"), _with_comments(rows, noted, at))
    for number, enum in enumerate(file.enum_type):
        at = (_ENUMS, number)
        yield from (f"### {_short(file.package)}.{enum.name}", noted[at])
        yield from _table(("value", "what"), _with_comments([(f"`{each.name}`",) for each in enum.value], noted, at))


def _with_comments(rows: Iterable[tuple[str, ...]], noted: Noted, at: tuple[int, ...]) -> list[tuple[str, ...]]:
    return [(*row, noted[*at, _HELD, number]) for number, row in enumerate(rows)]


def _type(field: FieldDescriptorProto, maps: Mapping[str, Iterable[FieldDescriptorProto]]) -> str:
    if field.type_name in maps:
        key, value = (_type(each, {}) for each in maps[field.type_name])
        return f"map of {key} to {value}"
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    named = _link(field.type_name) if field.type_name else kind
    return f"list of {named}" if field.label == FieldDescriptorProto.LABEL_REPEATED else named


def _link(name: str) -> str:
    """A message or an enumeration by its full name."""
    full, short = _short(name.removeprefix(".")), name.rpartition(".")[2]
    return short if full.startswith("google.") else f"[{short}](#{full.lower().replace('.', '')})"


def _short(name: str) -> str:
    return name.removeprefix("creator.")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = ["| " + " | ".join(each.replace("|", "\\|") for each in row) + " |" for row in rows]
    if lines:
        yield "\n".join(["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *lines])


PAGES = {"rest.md": rest, "grpc.md": grpc}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (PROJECT / "docs" / name).write_text(made())
