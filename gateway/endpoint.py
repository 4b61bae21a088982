"""What every route does before and after its handler: who, how often, what, within which time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import grpc.aio
import msgspec
from aiohttp import hdrs, web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge

from gateway.client import Client, Network, client_address, printable
from gateway.limiter import Limiter
from gateway.problems import (
    BodyMalformed,
    BodyMissing,
    BodyTooLarge,
    BodyTooSlow,
    BodyUnexpected,
    MediaTypeUnsupported,
    Problem,
    RequestTooSlow,
    ScopeMissing,
)
from gateway.reading import read_body, read_query, refuse_query
from gateway.refusals import translated
from gateway.room import Room
from gateway.route import Access, Answer, Call, Route, Scope
from gateway.schemas.problem import FieldProblem
from gateway.tokens import NOBODY, Caller, Tokens
from libs.rpc.deadline import deadline

ROUTE: web.RequestKey[Route] = web.RequestKey("route", Route)
CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)

Serve = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Bounds:
    """How much of anything one request may take."""

    body_bytes: int = 64 * 1024
    body_seconds: float = 5.0
    request_seconds: float = 5.0


@dataclass(frozen=True)
class Gate:
    """What all endpoints share."""

    room: Room
    tokens: Tokens
    limiter: Limiter
    bounds: Bounds
    trusted: tuple[Network, ...]

    def client(self, request: web.BaseRequest) -> Client:
        """Who is at the other end, as far as it can be believed."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return Client(
            address=client_address(peer[0] if peer else "", forwarded, self.trusted),
            user_agent=printable(request.headers.get(hdrs.USER_AGENT)),
            fingerprint=printable(request.headers.get("X-Client-Fingerprint")),
        )


def endpoint(route: Route, gate: Gate) -> Serve:
    """The aiohttp handler of a route."""

    async def serve(request: web.Request) -> web.Response:
        request[ROUTE] = route
        client = request[CLIENT]
        caller = await _admit(route, gate.tokens, request)
        headers = await gate.limiter.admit(route.limited, account=caller.account_id, address=client.network)
        try:
            call = Call(
                room=gate.room,
                caller=caller,
                client=client,
                body=await _body(route, gate.bounds, request),
                query=_query(route, request),
            )
            response = _response(await _handled(route, gate.bounds, call))
        except Problem as problem:
            problem.headers |= headers
            raise
        response.headers.update(headers)
        return response

    return serve


async def _admit(route: Route, tokens: Tokens, request: web.Request) -> Caller:
    """The caller; raises where there is none, or one without the scope."""
    if route.access is Access.PUBLIC:
        return NOBODY
    caller = await tokens.read(request.headers.getall(hdrs.AUTHORIZATION, []))
    if isinstance(route.access, Scope) and route.access.name not in caller.scopes:
        challenge = f'Bearer realm="creator-economy", error="insufficient_scope", scope="{route.access.name}"'
        raise ScopeMissing(headers={hdrs.WWW_AUTHENTICATE: challenge})
    return caller


def _query(route: Route, request: web.Request) -> object:
    pairs = list(request.rel_url.query.items())
    if route.query is None:
        refuse_query(pairs)
        return None
    return read_query(pairs, route.query)


async def _body(route: Route, bounds: Bounds, request: web.Request) -> object:
    if route.body is None:
        if request.body_exists:
            raise BodyUnexpected
        return None
    raw = await read_raw(request, bounds)
    if not raw:
        if route.body_required:
            raise BodyMissing
        return route.body()
    _check_media_type(request)
    return read_body(raw, route.body)


async def read_raw(request: web.Request, bounds: Bounds) -> bytes:
    """The body as it came; raises BodyTooLarge, BodyTooSlow and BodyMalformed."""
    if (request.content_length or 0) > bounds.body_bytes:
        raise BodyTooLarge
    try:
        async with asyncio.timeout(bounds.body_seconds):
            return await request.read()
    except TimeoutError:
        raise BodyTooSlow from None
    except HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except web.RequestPayloadError:
        raise BodyMalformed("The body is cut off or wrongly framed.") from None


def _check_media_type(request: web.Request) -> None:
    encoded = request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity"
    foreign = request.content_type != "application/json" or hdrs.CONTENT_TYPE not in request.headers
    if encoded or foreign or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise MediaTypeUnsupported(headers={"Accept-Post": "application/json"})


async def _handled(route: Route, bounds: Bounds, call: Call[object, object]) -> Answer:
    """The handler's answer; what the services refuse comes out as a problem."""
    deadline.set(time.monotonic() + bounds.request_seconds)
    try:
        async with asyncio.timeout(bounds.request_seconds):
            answer = await route.handler(call)
    except TimeoutError:
        raise RequestTooSlow from None
    except grpc.aio.AioRpcError as error:
        problem, field = translated(error)
        if field and problem.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
            problem.errors = (FieldProblem(pointer=route.pointer(field), detail=problem.detail),)
        raise problem from error
    return answer if isinstance(answer, Answer) else Answer(answer)


def _response(answer: Answer) -> web.Response:
    raw = answer.content if isinstance(answer.content, bytes) else msgspec.json.encode(answer.content)
    headers = {hdrs.CONTENT_TYPE: answer.content_type, **answer.headers}
    return web.Response(body=raw, status=answer.status, headers=headers)
