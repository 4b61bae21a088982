"""One JSON object per line on standard output; what libraries log through `logging` comes out the same way."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from libs.settings import Secret
from libs.telemetry.context import current_traceparent, request_id

_REDACTED = "…"
_MAX_DEPTH = 4
# By name, since a value does not say what it is. Wallet and destination addresses are personal.
_SENSITIVE = re.compile(
    r"secret|token|password|passphrase|signature|authorization|cookie|api_?key|private|dsn|address|wallet|nonce|totp",
    re.IGNORECASE,
)
# PostgreSQL repeats a violated row's values in the detail of its errors.
_ROW_VALUES = re.compile(r"^(\s*DETAIL:).*$", re.MULTILINE)

_Event = MutableMapping[str, Any]


def configure_logs(service: str, level: str = "INFO") -> None:
    """Route structlog and `logging` to standard output; every line names the service."""

    def where(_logger: Any, _method: str, event: _Event) -> _Event:
        event["service"] = service
        if known := request_id.get():
            event.setdefault("request_id", known)
        if parent := current_traceparent():
            event.setdefault("trace_id", parent.split("-")[1])
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        where,
        structlog.processors.format_exc_info,
        redact,
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=False, default=_plain)
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:3], _module],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))


def logger(name: str) -> Any:
    """Return the logger of a module: `log.info("what happened", key=value)`."""
    return structlog.get_logger(module=name)


def _module(_logger: Any, _method: str, event: _Event) -> _Event:
    event["module"] = event["_record"].name
    return event


def redact(_logger: Any, _method: str, event: _Event) -> _Event:
    """Hide values whose key says that they are a secret or personal, at any depth."""
    for key, value in event.items():
        event[key] = _redacted(key, value, 0)
    exception = event.get("exception")
    if isinstance(exception, str) and "DETAIL:" in exception:
        event["exception"] = _ROW_VALUES.sub(rf"\1 {_REDACTED}", exception)
    return event


def _redacted(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, Secret) or _SENSITIVE.search(key):
        return _REDACTED
    if depth >= _MAX_DEPTH:
        return value if isinstance(value, (str, int, float, bool, type(None))) else _REDACTED
    if isinstance(value, dict):
        return {inner: _redacted(str(inner), item, depth + 1) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted("", item, depth + 1) for item in value]
    return value


def _plain(value: object) -> str:
    """Show what JSON does not know; never its repr, which may hold anything."""
    return str(value) if type(value).__str__ is not object.__str__ else type(value).__name__
