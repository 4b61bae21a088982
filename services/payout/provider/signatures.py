"""Whether the provider signed a callback: HMAC-SHA512 under the IPN secret, in one of three renderings of one body."""

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Final

from services.payout.provider.canonical import Json, Unreadable, canonical, parse

HEADER: Final = "x-nowpayments-sig"
_HEX: Final = re.compile(r"[0-9a-fA-F]{128}")


def sign(body: bytes, secret: str) -> str:
    """The signature of these bytes."""
    return hmac.new(secret.strip().encode(), body, "sha512").hexdigest()


def verified(raw: bytes, signature: str, secrets: Sequence[str]) -> dict[str, Json] | None:
    """The body, where one of the secrets signed it; None otherwise, and always where there is no secret.

    Accepted are the bytes as they came, and the key-sorted JavaScript form with arrays kept or written as objects. All
    three say what the returned body says; a body that could be read in two ways is not accepted at all.
    """
    known = [secret for secret in secrets if secret.strip()]
    if not known or not _HEX.fullmatch(signature):
        return None
    try:
        body = parse(raw)
    except Unreadable:
        return None
    given = signature.lower()
    matches = [hmac.compare_digest(sign(form, secret), given) for secret in known for form in _forms(raw, body)]
    return body if any(matches) else None


def _forms(raw: bytes, body: dict[str, Json]) -> Iterable[bytes]:
    yield raw
    yield canonical(body).encode()
    yield canonical(body, arrays_as_objects=True).encode()
