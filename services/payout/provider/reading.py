"""Bytes to and from the provider: exact numbers, bounded answers, complaints in whatever shape they come."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import aiohttp

from libs.nesting import shallow
from services.payout.provider.trouble import Unknown

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_MESSAGE_MAX: Final = 500


async def bounded(stream: aiohttp.StreamReader) -> bytes:
    """The whole answer. Raises Unknown where it is larger than any answer could be."""
    read = bytearray()
    async for chunk in stream.iter_chunked(65_536):
        read += chunk
        if len(read) > ANSWER_BYTES_MAX:
            raise Unknown("ANSWER_TOO_LARGE")
    return bytes(read)


def exact(raw: bytes) -> Any:
    """JSON with exact numbers. Raises Unknown for anything else."""
    try:
        return json.loads(shallow(raw), parse_float=Decimal)
    except (ValueError, InvalidOperation):
        raise Unknown("UNREADABLE") from None


def complaint(raw: bytes) -> tuple[str, str]:
    """Code and message of an answer that is none, in one of the shapes that were seen; a page of HTML has neither."""
    try:
        body = json.loads(shallow(raw))
    except ValueError:
        body = raw[:_MESSAGE_MAX].decode("utf-8", "replace")
    inner = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict):
        return "", str(inner)[:_MESSAGE_MAX]
    return str(inner.get("code") or ""), str(inner.get("message") or "")[:_MESSAGE_MAX]


def encode(value: Any) -> bytes:
    """JSON in which a Decimal is the number it is."""
    return _written(value).encode()


def _written(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value)


def expiry(token: Any) -> datetime:
    """When a JSON Web Token ends; its signature is the provider's business.

    Raises ValueError, KeyError, TypeError, OverflowError or OSError for what is none.
    """
    if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
        raise TypeError
    payload = token.split(".")[1:2]
    claims = json.loads(shallow(base64.urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))) if payload else {}
    return datetime.fromtimestamp(claims["exp"], UTC)
