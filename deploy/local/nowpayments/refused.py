"""How the provider says no, and what it says no to."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from aiohttp import web

from libs.nesting import shallow

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """An answer in the provider's error shape."""

    def __init__(self, http_status: HTTPStatus, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.body = {"status": False, "statusCode": int(http_status), "code": code, "message": message, **more}
        self.http_status = http_status

    def answer(self) -> web.Response:
        return web.json_response(self.body, status=self.http_status)


def bad_request(message: str, code: str = "INVALID_REQUEST_PARAMS", **more: object) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, code, message, **more)


def not_found(what: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"{what} was not found")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal in the provider's shape, the router's too."""
    try:
        return await handler(request)
    except Refused as refused:
        return refused.answer()
    except web.HTTPRequestEntityTooLarge:
        too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return Refused(too_large, "INVALID_REQUEST_PARAMS", "request entity too large").answer()
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"Cannot {request.method} {request.path}").answer()


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object, numbers exact."""
    try:
        body = json.loads(shallow(await request.read()), parse_float=Decimal)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise bad_request("value must be of type object")
    return body


def only(given: Mapping[str, object], allowed: Collection[str], prefix: str = "") -> None:
    """Refuse a field that the schema does not have."""
    for name in given:
        if name not in allowed:
            raise bad_request(f"{prefix}{name} is not allowed")
