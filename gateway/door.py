"""The outermost layer: a request comes in with an id and goes out with an answer, whatever happens in between."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import hdrs, web
from opentelemetry.trace import SpanKind

from gateway import metrics
from gateway.endpoint import CLIENT, ROUTE, Gate
from gateway.problems import (
    CONTENT_TYPE,
    BodyTooLarge,
    BodyTooSlow,
    ExpectationUnknown,
    Internal,
    MethodNotAllowed,
    Problem,
    RequestMalformed,
    RouteUnknown,
)
from gateway.refusals import Refused
from libs import telemetry
from libs.ids import new_id

log = telemetry.logger(__name__)

REQUEST_ID: Final = "X-Request-Id"
UNMATCHED: Final = "(none)"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_EXPOSED: Final = "X-Request-Id, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, Location"
_ACCEPTED: Final = "Authorization, Content-Type, Idempotency-Key, X-Request-Id, X-Client-Fingerprint"

SECURITY: Final[Mapping[str, str]] = {
    hdrs.CACHE_CONTROL: "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    hdrs.SERVER: "creator-economy",
}

Inner = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Door:
    """Wraps the application's own handler."""

    gate: Gate
    origins: frozenset[str]
    """Pages of these origins may call; none by default."""
    hsts: bool

    def around(self, inner: Inner) -> Inner:
        """The handler that the server calls."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            started = time.perf_counter()
            known = identify(request)
            request[CLIENT] = self.gate.client(request)
            parent = request.headers.get("traceparent", "")
            with metrics.IN_FLIGHT.track_inprogress(), telemetry.span("request", parent, SpanKind.SERVER):
                response, code = await self._answer(inner, request, known)
                self._record(request, response, code, time.perf_counter() - started)
            return response

        return serve

    async def _answer(self, inner: Inner, request: web.BaseRequest, known: str) -> tuple[web.StreamResponse, str]:
        try:
            response = self._preflight(request) or await inner(request)
        except Exception as error:  # noqa: BLE001 - the last one to catch anything
            problem = as_problem(error)
            return self.tell(request, problem, known), problem.reason
        if hdrs.UPGRADE in request.headers:
            # Nothing is upgraded to, and the server reads no further request from a connection that asked for it.
            response.force_close()
        self.seal(request, response, known)
        return response, ""

    def tell(self, request: web.BaseRequest, problem: Problem, known: str) -> web.Response:
        """Write a problem."""
        metrics.PROBLEMS.labels(problem.reason).inc()
        document = msgspec.json.encode(problem.document(known))
        headers = {hdrs.CONTENT_TYPE: CONTENT_TYPE, **problem.headers}
        response = web.Response(body=document, status=problem.status, headers=headers)
        if isinstance(problem, BodyTooLarge | BodyTooSlow):
            response.force_close()
        self.seal(request, response, known)
        return response

    def seal(self, request: web.BaseRequest, response: web.StreamResponse, known: str) -> None:
        """Add what every answer carries."""
        response.headers[REQUEST_ID] = known
        for name, value in SECURITY.items():
            response.headers.setdefault(name, value)
        if self.hsts:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if not self.origins:
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self.origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"

    def _preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a browser that asks whether a page of a known origin may call."""
        asked = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if request.method != hdrs.METH_OPTIONS or not asked or request.headers.get(hdrs.ORIGIN) not in self.origins:
            return None
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, PUT, DELETE",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ACCEPTED,
            hdrs.ACCESS_CONTROL_MAX_AGE: "600",
        }
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    def _record(self, request: web.BaseRequest, response: web.StreamResponse, code: str, seconds: float) -> None:
        """One line per request, with nothing in it that names a person; the path is the route's, not the client's."""
        route = request.get(ROUTE)
        path = route.path if route else UNMATCHED
        method = route.method if route else UNMATCHED
        metrics.REQUESTS.labels(method, path, str(response.status)).inc()
        metrics.REQUEST_SECONDS.labels(method, path).observe(seconds)
        quiet = route is not None and route.quiet and response.status < HTTPStatus.BAD_REQUEST
        write = log.debug if quiet else log.info
        write(
            "request",
            method=request.method[:16],
            route=path,
            status=response.status,
            code=code or None,
            ms=round(seconds * 1000, 1),
            client=request[CLIENT].neighbourhood,
        )


def identify(request: web.BaseRequest) -> str:
    """The request's id: the one that came with it if it is fit to be written down, else a new one."""
    stated = request.headers.get(REQUEST_ID, "")
    known = stated if _REQUEST_ID.fullmatch(stated) else str(new_id())
    telemetry.request_id.set(known)
    return known


def as_problem(error: Exception) -> Problem:
    """What to tell the client; a bug is written down and not told."""
    if isinstance(error, Problem):
        if isinstance(error, Refused) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("a service failed", grpc_code=error.grpc_code.name, exc_info=error)
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(headers={hdrs.ALLOW: ", ".join(sorted(error.allowed_methods))})
    if isinstance(error, web.HTTPNotFound):
        return RouteUnknown()
    if isinstance(error, web.HTTPExpectationFailed):
        return ExpectationUnknown()
    if isinstance(error, web.HTTPClientError):
        return RequestMalformed()
    log.error("unexpected", exc_info=error)
    return Internal()
