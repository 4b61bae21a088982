"""OpenAPI 3.1, made from the same declarations as the router."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.problems import CONTENT_TYPE
from gateway.route import CLOSED, Access, Limited, Raw, Route, Scope
from gateway.schemas.problem import ProblemDocument

VERSION: Final = "1.0.0"
_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"

_HEADERS: Final = {
    "X-Request-Id": ("The request's id: the one that came with it, else one that was made.", "string"),
    "RateLimit": ('What is left: `"name";r=calls;t=seconds` for each limit.', "string"),
    "RateLimit-Policy": ('The limits: `"name";q=calls;w=seconds`.', "string"),
    "Retry-After": ("Seconds to wait.", "integer"),
    "WWW-Authenticate": ("What kind of token is needed (RFC 6750).", "string"),
    "Allow": ("The methods that this path answers.", "string"),
}

_KEY: Final = "The same key with the same request is done once and answered alike; with another request it is refused."
_REQUEST_ID: Final = "1 to 128 of `A-Za-z0-9._:-` are taken over; anything else is replaced."

_DESCRIPTION: Final = """\
Amounts are micro-USD, written as decimal strings. Times are RFC 3339 in UTC.

Every answer that is not a success is `application/problem+json` (RFC 9457) with a `code` for programs, `errors` that
point at what is wrong, and the `request_id` under which it was written down. Unknown members and parameters are
refused.
"""


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    routes = list(routes)
    shapes: set[type] = {ProblemDocument}
    for route in routes:
        shapes.update(shape for shape in (route.body, *route.answers.values()) if isinstance(shape, type))
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {"title": "Creator economy", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def render(described: dict[str, Any]) -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(described)


def statuses(route: Route) -> dict[HTTPStatus, tuple[str, ...]]:
    """Every problem a route may give: those that come with what it is, and those of its own service."""
    found: dict[HTTPStatus, list[str]] = {status: list(codes) for status, codes in route.problems.items()}

    def may(status: HTTPStatus, *codes: str) -> None:
        found.setdefault(status, []).extend(codes)

    may(HTTPStatus.BAD_REQUEST, "REQUEST_MALFORMED", "QUERY_INVALID")
    may(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL")
    may(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE")
    may(HTTPStatus.EXPECTATION_FAILED, "EXPECTATION_UNKNOWN")
    for status, codes in _reading(route):
        may(status, *codes)
    if route.access is not Access.PUBLIC:
        may(HTTPStatus.UNAUTHORIZED, "TOKEN_MISSING", "TOKEN_INVALID")
        may(HTTPStatus.SERVICE_UNAVAILABLE, "KEYS_UNAVAILABLE")
    if isinstance(route.access, Scope):
        may(HTTPStatus.FORBIDDEN, "SCOPE_MISSING")
    if route.limited is not Limited.NOT:
        may(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMITED")
    if route.limited in CLOSED:
        may(HTTPStatus.SERVICE_UNAVAILABLE, "LIMITS_UNAVAILABLE")
    if route.upstream:
        may(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "STORE_UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        may(HTTPStatus.CONFLICT, "STORE_CONFLICT")
        may(HTTPStatus.GATEWAY_TIMEOUT, "REQUEST_TOO_SLOW", "DEADLINE_EXCEEDED")
        may(HTTPStatus.NOT_IMPLEMENTED, "UNIMPLEMENTED")
    return {status: tuple(dict.fromkeys(codes)) for status, codes in sorted(found.items())}


def _reading(route: Route) -> Iterator[tuple[HTTPStatus, tuple[str, ...]]]:
    """What may be wrong with what comes in."""
    if route.path_fields is not None:
        yield HTTPStatus.BAD_REQUEST, ("PATH_INVALID",)
    if route.idempotent:
        yield HTTPStatus.BAD_REQUEST, ("IDEMPOTENCY_KEY_MISSING",)
        yield HTTPStatus.UNPROCESSABLE_ENTITY, ("REQUEST_ID_REUSED",)
    if route.body is None:
        yield HTTPStatus.BAD_REQUEST, ("BODY_UNEXPECTED",)
        return
    yield HTTPStatus.BAD_REQUEST, ("BODY_MALFORMED",)
    yield HTTPStatus.REQUEST_TIMEOUT, ("BODY_TOO_SLOW",)
    yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE, ("BODY_TOO_LARGE",)
    if not isinstance(route.body, Raw):
        yield HTTPStatus.BAD_REQUEST, ("BODY_MISSING", "BODY_INVALID")
        yield HTTPStatus.UNSUPPORTED_MEDIA_TYPE, ("MEDIA_TYPE_UNSUPPORTED",)


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "description": _description(route),
        "parameters": _parameters(route),
        "responses": {str(int(status)): _success(route, status) for status in route.answers},
        "security": [] if route.access is Access.PUBLIC else [{"bearer": []}],
    }
    for status, codes in statuses(route).items():
        operation["responses"][str(int(status))] = _problem(status, codes)
    if isinstance(route.body, Raw):
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    elif route.body is not None:
        content = {_JSON: {"schema": {"$ref": _REF.format(name=route.body.__name__)}}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    if isinstance(route.access, Scope):
        operation["x-scope"] = route.access.name
    return operation


def _description(route: Route) -> str:
    access = f"the scope `{route.access.name}`" if isinstance(route.access, Scope) else route.access.value
    return f"Access: {access}. Limits: {route.limited.value}."


def _parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if route.path_fields is not None:
        found += _fields(route.path_fields, "path")
    if route.query is not None:
        found += _fields(route.query, "query")
    if route.idempotent:
        found.append(_header("Idempotency-Key", _KEY, pattern="^[!-~]([ -~]{0,126}[!-~])?$", required=True))
    found += [_header(name) for name in route.headers]
    return [*found, _header("X-Request-Id", _REQUEST_ID)]


def _header(name: str, description: str = "", *, required: bool = False, **bounds: str) -> dict[str, Any]:
    schema = {"type": "string", **bounds}
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def _fields(shape: type[msgspec.Struct], place: str) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(shape)["$defs"][shape.__name__]
    return [
        {
            "name": name,
            "in": place,
            "required": place == "path" or name in schema["required"],
            "description": described.get("description", ""),
            "schema": _without_null(described),
        }
        for name, described in schema["properties"].items()
    ]


def _without_null(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter is left out, never null."""
    kept = {name: value for name, value in shape.items() if name != "description"}
    present = [each for each in kept.get("anyOf", ()) if each != {"type": "null"}]
    if len(present) != 1:
        return kept
    return {name: value for name, value in present[0].items() if name != "description"}


def _success(route: Route, status: HTTPStatus) -> dict[str, Any]:
    shape = route.answers[status]
    if isinstance(shape, str):
        content = {shape: {"schema": {"type": "object"} if "json" in shape else {"type": "string"}}}
    else:
        content = {_JSON: {"schema": {"$ref": _REF.format(name=shape.__name__)}}}
    names = ["X-Request-Id"] + (["RateLimit", "RateLimit-Policy"] if route.limited is not Limited.NOT else [])
    return {"description": status.phrase, "headers": _headers(names), "content": content}


def _problem(status: HTTPStatus, codes: tuple[str, ...]) -> dict[str, Any]:
    names = ["X-Request-Id"]
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        names.append("Retry-After")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        names.append("WWW-Authenticate")
    schema: dict[str, Any] = {"$ref": _REF.format(name=ProblemDocument.__name__)}
    return {
        "description": f"{status.phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "headers": _headers(names),
        "content": {CONTENT_TYPE: {"schema": schema}},
    }


def _headers(names: list[str]) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name][0], "schema": {"type": _HEADERS[name][1]}} for name in names}
