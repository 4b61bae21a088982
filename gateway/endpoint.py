"""What every route does before and after its handler: who, how often, what, within which time."""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

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
    IdempotencyKeyMissing,
    MediaTypeUnsupported,
    Problem,
    RequestTooSlow,
    ScopeMissing,
)
from gateway.reading import read_body, read_path, read_query, refuse_query
from gateway.refusals import translated
from gateway.room import Room
from gateway.route import Access, Answer, Call, Raw, Route, Scope
from gateway.schemas.problem import FieldProblem
from gateway.tokens import NOBODY, Caller, Tokens
from libs.rpc.deadline import deadline

ROUTE: web.RequestKey[Route] = web.RequestKey("route", Route)
CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KEY: Final = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")
_PIECE: Final = 64 * 1024


@dataclass(frozen=True)
class Bounds:
    """How much of anything one request may take."""

    body_bytes: int = 64 * 1024
    body_seconds: float = 5.0
    request_seconds: float = 5.0
    upload_bytes: int = 512 * 1024 * 1024
    upload_seconds: float = 120.0


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

    async def serve(request: web.Request) -> web.StreamResponse:
        request[ROUTE] = route
        client = request[CLIENT]
        caller = await _admit(route, gate.tokens, request)
        headers = await gate.limiter.admit(route.limited, account=caller.account_id, address=client.network)
        try:
            call = Call(
                room=gate.room,
                caller=caller,
                client=client,
                path=read_path(request.match_info, route.path_fields) if route.path_fields else None,
                query=_query(route, request),
                request_id=_request_id(caller, request) if route.idempotent else "",
                headers={name: request.headers.get(name, "") for name in route.headers},
                body=await _body(route, gate.bounds, request),
            )
            answer = await _handled(route, gate.bounds, call)
        except Problem as problem:
            problem.headers |= headers
            raise
        if isinstance(answer.content, AsyncIterator):
            return await _stream(answer, answer.content, headers, request)
        response = _response(answer)
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


def _request_id(caller: Caller, request: web.Request) -> str:
    """The owner's idempotency key of this request: nobody can meet another account's by choosing the same."""
    given = request.headers.getall("Idempotency-Key", [])
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise IdempotencyKeyMissing
    return hashlib.blake2b(f"{caller.account_id}\0{given[0]}".encode(), digest_size=16).hexdigest()


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
    if route.body is Raw.STREAMED:
        return _pieces(request, bounds)
    raw = await read_raw(request, bounds)
    if route.body is Raw.WHOLE:
        return raw
    return _parsed(raw, route, route.body, request)


def _parsed(raw: bytes, route: Route, shape: type[msgspec.Struct], request: web.Request) -> object:
    if not raw:
        if route.body_required:
            raise BodyMissing
        return shape()
    _check_media_type(request)
    return read_body(raw, shape)


async def _pieces(request: web.Request, bounds: Bounds) -> AsyncIterator[bytes]:
    """An upload, as it comes. Each piece must come in time, and all of them must stay within the bound."""
    size = 0
    while True:
        try:
            async with asyncio.timeout(bounds.body_seconds):
                piece = await request.content.read(_PIECE)
        except TimeoutError:
            raise BodyTooSlow from None
        except web.RequestPayloadError:
            raise BodyMalformed("The body is cut off or wrongly framed.") from None
        if not piece:
            return
        size += len(piece)
        if size > bounds.upload_bytes:
            raise BodyTooLarge
        yield piece


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
    seconds = bounds.upload_seconds if route.body is Raw.STREAMED else bounds.request_seconds
    deadline.set(time.monotonic() + seconds)
    try:
        async with asyncio.timeout(seconds):
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


async def _stream(
    answer: Answer, pieces: AsyncIterator[bytes], headers: dict[str, str], request: web.Request
) -> web.StreamResponse:
    """Send an answer as it is made. What fails on the way cuts the connection: half an answer never looks whole."""
    response = web.StreamResponse(
        status=answer.status, headers={hdrs.CONTENT_TYPE: answer.content_type, **answer.headers, **headers}
    )
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response
