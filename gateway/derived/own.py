"""One service for whoever calls, told as routes: the account is the token's subject, and nobody asks about another."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from gateway.derived import shapes
from gateway.derived.area import answers, divided, handle, told
from gateway.derived.words import said
from gateway.route import Access, Call, Limited, Route, Scope

CREATOR: Final = Scope("creator")
OURS: Final = frozenset({"request_id", "account_id"})
"""Fields that no caller fills in: whose it is says the token, and the key comes in its header."""


@dataclass(frozen=True)
class Own:
    """A group of routes before one service."""

    tag: str
    stub: str
    """The service in `call.room.services`."""
    service: ServiceDescriptor
    access: Access | Scope = CREATOR
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    """Codes that the service may refuse every call with, separated by spaces."""

    def get(self, path: str, rpc: str, *, whole: str = "", needed: Collection[str] = (), **refused: str) -> Route:
        """A look. The call's fields are names in the path, or query parameters; `needed` ones may not be left out.

        `refused` are the codes of this route, by the name of their HTTP status.
        """
        call = self.service.methods_by_name[rpc]
        _, rest = divided(path, call.input_type, OURS)
        query = shapes.query(rpc + "Query", call.input_type, rest, needed) if rest else None
        return self._route("GET", path, call, refused, whole=whole, query=query)

    def post(self, path: str, rpc: str, *, optional: Collection[str] = (), **refused: str) -> Route:
        """An act that may be sent again as it is: the service knows it by what it says."""
        return self._act("POST", path, rpc, optional, refused)

    def pay(self, path: str, rpc: str, *, optional: Collection[str] = (), **refused: str) -> Route:
        """An act that moves money: an Idempotency-Key must come, and where calls cannot be counted it is refused."""
        return self._act("POST", path, rpc, optional, refused, limited=Limited.PAYOUT)

    def delete(self, path: str, rpc: str, **refused: str) -> Route:
        """An end of what the path names."""
        return self._act("DELETE", path, rpc, (), refused)

    def _act(
        self,
        method: Any,
        path: str,
        rpc: str,
        optional: Collection[str],
        refused: Mapping[str, str],
        **shape: Any,
    ) -> Route:
        call = self.service.methods_by_name[rpc]
        _, rest = divided(path, call.input_type, OURS)
        body = shapes.body(rpc, call.input_type, rest, optional) if rest else None
        keyed = "request_id" in call.input_type.fields_by_name
        return self._route(method, path, call, refused, body=body, idempotent=keyed, **shape)

    def _route(
        self,
        method: Any,
        path: str,
        call: MethodDescriptor,
        refused: Mapping[str, str],
        *,
        whole: str = "",
        limited: Limited = Limited.STANDARD,
        **shape: Any,
    ) -> Route:
        named, _ = divided(path, call.input_type, OURS)
        whole = whole or told(call.output_type)
        problems = {status: codes.split() for status, codes in self.problems.items()}
        for status, codes in refused.items():
            problems.setdefault(HTTPStatus[status.upper()], []).extend(codes.split())
        return Route(
            method=method,
            path=path,
            name=call.name[0].lower() + call.name[1:],
            summary=said(call),
            tag=self.tag,
            access=self.access,
            limited=limited,
            handler=partial(handle, self.stub, call, whole, sign=sign),
            path_fields=shapes.path(call.name + "Path", call.input_type, named) if named else None,
            answers=answers(call, whole),
            problems={status: tuple(codes) for status, codes in problems.items()},
            **shape,
        )


def sign(message: Any, call: Call[Any, Any]) -> None:
    """Put down whose it is, and under which key it is asked."""
    names = message.DESCRIPTOR.fields_by_name
    if "account_id" in names:
        message.account_id = call.caller.account_id
    if "request_id" in names:
        message.request_id = call.request_id
