"""Probes, and the description of everything else."""

from http import HTTPStatus

from gateway import docs
from gateway.route import Access, Answer, Call, Limited, Route
from gateway.schemas.operations import Alive, Readiness

_PUBLIC = {"Cache-Control": "no-cache"}


async def healthz(_call: Call[None, None]) -> Alive:
    return Alive(state="alive")


async def readyz(call: Call[None, None]) -> Readiness:
    return await call.room.dependencies.ask()


async def get_openapi(call: Call[None, None]) -> Answer:
    return Answer(call.room.pages["/openapi.json"], headers=_PUBLIC)


async def get_docs(call: Call[None, None]) -> Answer:
    headers = {**_PUBLIC, "Content-Security-Policy": docs.POLICY}
    return Answer(call.room.pages["/docs"], content_type="text/html; charset=utf-8", headers=headers)


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        name="healthz",
        summary="Whether the process answers.",
        tag="Operations",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=healthz,
        answers={HTTPStatus.OK: Alive},
        upstream=False,
        quiet=True,
    ),
    Route(
        method="GET",
        path="/readyz",
        name="readyz",
        summary="Which dependencies answer.",
        tag="Operations",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=readyz,
        answers={HTTPStatus.OK: Readiness},
        problems={HTTPStatus.SERVICE_UNAVAILABLE: ("NOT_READY",)},
        upstream=False,
        quiet=True,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document.",
        tag="Operations",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_openapi,
        answers={HTTPStatus.OK: "application/json"},
        upstream=False,
    ),
    Route(
        method="GET",
        path="/docs",
        name="docs",
        summary="This document, for people.",
        tag="Operations",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_docs,
        answers={HTTPStatus.OK: "text/html"},
        upstream=False,
    ),
)
