"""One service for operators, told as routes: each says its path and the call that it is, and no more."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from gateway.derived import shapes
from gateway.derived.packing import packed, unpacked
from gateway.derived.words import said
from gateway.route import Answer, Call, Limited, Route, Scope
from gateway.schemas.wire import Reply

PREFIX: Final = "/api/admin"
OURS: Final = frozenset({"request_id", "operator_id"})
"""Fields that no operator fills in: who acts is the token's subject, and the key comes in its header."""

_NAMES: Final = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Area:
    """A group of routes with scopes of its own, `admin:<name>:read` and `admin:<name>:write`, before one service."""

    name: str
    tag: str
    stub: str
    """The service in `call.room.services`."""
    service: ServiceDescriptor
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    """Codes that the service refuses with, separated by spaces."""

    def get(self, path: str, rpc: str, *, needed: Collection[str] = ()) -> Route:
        """A look. The call's fields are names in the path, or query parameters; `needed` ones may not be left out."""
        call = self.service.methods_by_name[rpc]
        named, rest = divided(path, call.input_type, ())
        query = shapes.query(rpc + "Query", call.input_type, rest, needed) if rest else None
        return self._route("GET", path, call, named, query=query)

    def ask(self, path: str, rpc: str, *, optional: Collection[str] = ()) -> Route:
        """A look whose question is too much for a query, or that is written down with its asker and its reason."""
        return self._post("POST", "read", path, rpc, optional)

    def act(
        self, path: str, rpc: str, *, optional: Collection[str] = (), method: Literal["POST", "PUT"] = "POST"
    ) -> Route:
        """An act: the operator is the token's subject, and an Idempotency-Key must come."""
        return self._post(method, "write", path, rpc, optional)

    def _post(self, method: Any, right: str, path: str, rpc: str, optional: Collection[str]) -> Route:
        call = self.service.methods_by_name[rpc]
        named, rest = divided(path, call.input_type, OURS)
        body = shapes.body(rpc, call.input_type, rest, optional)
        return self._route(method, path, call, named, right=right, body=body)

    def _route(
        self,
        method: Any,
        path: str,
        call: MethodDescriptor,
        named: list[FieldDescriptor],
        *,
        right: str = "read",
        **shape: Any,
    ) -> Route:
        whole = told(call.output_type)
        return Route(
            method=method,
            path=PREFIX + path,
            name=call.name[0].lower() + call.name[1:],
            summary=said(call),
            tag=self.tag,
            access=Scope(f"admin:{self.name}:{right}"),
            limited=Limited.STANDARD,
            handler=partial(handle, self.stub, call, whole, sign=sign if method != "GET" else None),
            path_fields=shapes.path(call.name + "Path", call.input_type, named) if named else None,
            idempotent=right == "write",
            answers=answers(call, whole),
            problems={status: tuple(codes.split()) for status, codes in self.problems.items()},
            **shape,
        )


Sign = Callable[[Any, Call[Any, Any]], None]


async def handle(
    stub: str, call: MethodDescriptor, whole: str, asked: Call[Any, Any], *, sign: Sign | None
) -> Reply | Answer:
    """Hand a request on as a call, and its answer back; `whole` is the one field that is all of the answer."""
    message: Any = packed(call.input_type, asked.path, asked.query, asked.body)
    if sign is not None:
        sign(message, asked)
    answer = await getattr(getattr(asked.room.services, stub), call.name)(message)
    if whole == "document":
        return Answer(answer.document.encode())
    return unpacked(getattr(answer, whole) if whole else answer)


def sign(message: Any, call: Call[Any, Any]) -> None:
    """Put down who acts, and under which key."""
    names = message.DESCRIPTOR.fields_by_name
    if "operator_id" in names:
        message.operator_id = call.caller.account_id
    if "request_id" in names:
        message.request_id = call.request_id


def answers(call: MethodDescriptor, whole: str) -> Mapping[HTTPStatus, type[Reply] | str]:
    """What a call answers with."""
    if whole == "document":
        return {HTTPStatus.OK: "application/json"}
    output = call.output_type
    return {HTTPStatus.OK: shapes.reply(output.fields_by_name[whole].message_type if whole else output)}


def told(output: Descriptor) -> str:
    """The one field that is the whole answer; empty where there are more."""
    if len(output.fields) > 1 or output.fields[0].is_repeated:
        return ""
    only = output.fields[0]
    is_message = only.message_type is not None and only.message_type.full_name != shapes.TIMESTAMP
    return str(only.name) if is_message or only.name == "document" else ""


def divided(path: str, kind: Descriptor, ours: Collection[str]) -> tuple[list[FieldDescriptor], list[FieldDescriptor]]:
    """The fields that are names in the path, and the others; KeyError for a name that is no field."""
    names = _NAMES.findall(path)
    named = [kind.fields_by_name[name] for name in names]
    return named, [each for each in kind.fields if each.name not in names and each.name not in ours]
