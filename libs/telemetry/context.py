"""What is known about the work in hand, carried by context variables: which request, which trace.

Logs, outgoing calls and outbox rows read it; the doors (gRPC, REST, Kafka) set it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace

from libs.ids import new_id

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty where nobody asked for one yet."""

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""W3C trace context as it came in; empty where there is none."""

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def current_request_id() -> str:
    """Return the id of the request in hand; one is made where the caller sent none."""
    known = request_id.get()
    if not known:
        known = str(new_id())
        request_id.set(known)
    return known


def current_traceparent() -> str:
    """Return the W3C trace context to send onwards or to store with an event; empty where there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return traceparent.get()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def new_traceparent() -> str:
    """Start a trace, unsampled: it joins the log lines of one request even where no traces are collected."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


def valid_traceparent(value: str) -> bool:
    """Tell whether it may be passed on; what others send may be anything."""
    return _TRACEPARENT.fullmatch(value) is not None


def is_sampled(value: str) -> bool:
    """Tell whether somebody collects the spans of a valid trace context."""
    return bool(value) and int(value[-2:], 16) & 1 == 1


def foremost(values: Iterable[str]) -> str:
    """Choose the trace that work done for several at once belongs to: the first that is sampled, else the first."""
    found = [value for value in values if valid_traceparent(value)]
    return next(filter(is_sampled, found), found[0] if found else "")


@contextmanager
def continued(parent: str) -> Iterator[None]:
    """Do a block's work as part of the trace that an event carries."""
    token = traceparent.set(parent if valid_traceparent(parent) else "")
    try:
        yield
    finally:
        traceparent.reset(token)
