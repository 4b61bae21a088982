"""OpenTelemetry, switched on by OTEL_EXPORTER_OTLP_ENDPOINT; without it a trace is an id in the logs, no more."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from libs.telemetry.context import continued, new_traceparent, traceparent, valid_traceparent

_W3C = TraceContextTextMapPropagator()


class _Tracing:
    provider: TracerProvider | None = None


def start_tracing(service: str, endpoint: str, processor: SpanProcessor | None = None) -> None:
    """Collect spans and send them over OTLP/HTTP; without an endpoint (or a processor of one's own) it does nothing."""
    if not endpoint and processor is None:
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    # The exporter reads the endpoint, headers and time-outs from the standard OTEL_ variables itself.
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
    _Tracing.provider = provider


def stop_tracing() -> None:
    """Send what is left and collect no more."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
        _Tracing.provider = None


def tracing() -> bool:
    """Tell whether spans are collected."""
    return _Tracing.provider is not None


@contextmanager
def span(name: str, parent: str = "", kind: trace.SpanKind = trace.SpanKind.INTERNAL) -> Iterator[None]:
    """Do a block's work in a span: a child of `parent`, a W3C traceparent, where that is given.

    Where no spans are collected it still carries the trace on, so that log lines, calls and events can be joined.
    """
    if _Tracing.provider is None:
        with continued(parent if valid_traceparent(parent) else traceparent.get() or new_traceparent()):
            yield
        return
    tracer = _Tracing.provider.get_tracer("creator")
    context = _W3C.extract({"traceparent": parent}) if parent else None
    with tracer.start_as_current_span(name, context=context, kind=kind):
        yield
