"""What a route is. The router, the OpenAPI document and the documentation page are all made from these declarations."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, TypeVar

from msgspec import Struct

from gateway.client import Client
from gateway.room import Room
from gateway.tokens import Caller

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")


class Access(Enum):
    """Who may call a route that asks for no scope."""

    PUBLIC = "no token is needed"
    ANY_TOKEN = "any valid token"  # noqa: S105 - words, not a token


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope that the caller's token must carry."""

    name: str


class Limited(Enum):
    """How often a route may be called; the numbers are settings."""

    NOT = "not limited"
    STANDARD = "per account; where calls cannot be counted they go on"
    REGISTER = "per account and per address; where calls cannot be counted they are refused"
    PAYOUT = "per account, with all its other calls; where calls cannot be counted they are refused"


CLOSED: Final = frozenset({Limited.REGISTER, Limited.PAYOUT})
"""Calls that are refused while they cannot be counted."""


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT]):
    """What a handler is given: checked, parsed, and within its limits."""

    room: Room
    caller: Caller
    client: Client
    body: BodyT
    query: QueryT
    path: Any = None
    """The names in the path, as the route's `path_fields` has them."""
    request_id: str = ""
    """What the owner knows this request by: made of account and Idempotency-Key, so that no two accounts meet."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers that the route asked for; empty where one did not come."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success other than 200 with JSON that nobody may store. A content that comes in pieces is sent as it comes."""

    content: Struct | bytes | AsyncIterator[bytes]
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Raw(Enum):
    """A body that is no JSON of a schema."""

    WHOLE = "as it came, up to the bound of all bodies"
    STREAMED = "piece by piece, up to the bound of uploads"


Handler = Callable[[Call[Any, Any]], Awaitable[Struct | Answer]]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path. Who may call it is said each time: there is no default."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    """Unique; the operationId."""
    summary: str
    tag: str
    access: Access | Scope
    limited: Limited
    handler: Handler
    answers: Mapping[HTTPStatus, type[Struct] | str]
    """What comes back on success: a schema, or the media type of something that is not JSON."""
    body: type[Struct] | Raw | None = None
    """A schema; or bytes, or an iterator of them."""
    body_required: bool = True
    query: type[Struct] | None = None
    path_fields: type[Struct] | None = None
    """What the names in the path may be."""
    idempotent: bool = False
    """Whether an Idempotency-Key must come: for everything that moves money."""
    headers: tuple[str, ...] = ()
    """Headers that the handler is given."""
    problems: Mapping[HTTPStatus, tuple[str, ...]] = field(default_factory=dict)
    """Codes that this route's own service gives, besides those that every route may give."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Where a field of the service's request has another name out here: `{"page_size": "?limit"}`."""
    quiet: bool = False
    """Whether a success is not worth a line in the log."""
    upstream: bool = True
    """Whether another process is asked, so that it may be down or late."""

    def pointer(self, name: str) -> str:
        """Where the client finds a field that the service names; empty for one that it never sent."""
        if name in self.fields:
            return self.fields[name]
        root = name.partition(".")[0].partition("[")[0]
        if isinstance(self.body, type) and root in self.body.__struct_fields__:
            return f"#/{name}"
        if self.query is not None and root in self.query.__struct_fields__:
            return f"?{name}"
        if self.path_fields is not None and root in self.path_fields.__struct_fields__:
            return f"{{{name}}}"
        return ""
