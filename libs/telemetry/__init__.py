"""What a process tells about itself: JSON logs, Prometheus metrics, W3C trace context and OpenTelemetry traces."""

from libs.telemetry.context import (
    continued,
    current_request_id,
    current_traceparent,
    foremost,
    is_sampled,
    new_traceparent,
    request_id,
    traceparent,
)
from libs.telemetry.logs import configure_logs, logger
from libs.telemetry.metrics import MetricsServer, serve_metrics
from libs.telemetry.traces import span, start_tracing, stop_tracing, tracing

__all__ = [
    "MetricsServer",
    "configure_logs",
    "continued",
    "current_request_id",
    "current_traceparent",
    "foremost",
    "is_sampled",
    "logger",
    "new_traceparent",
    "request_id",
    "serve_metrics",
    "span",
    "start_tracing",
    "stop_tracing",
    "traceparent",
    "tracing",
]
