"""Keyed hashes of what a sign-up looked like: equal for equal requests, and of no use without the key."""

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Final

from services.referral.model.risk import Client, Hash, Key, SignalKind

MAX_TEXT: Final = 512

_HASH_BYTES: Final = 16
_V4_PREFIX: Final = 24
_V6_PREFIX: Final = 64


def key_of(secret: str) -> Key:
    """A key from a secret of any length; its id says nothing of it."""
    derived = hashlib.blake2b(secret.encode(), digest_size=32, person=b"risk key").digest()
    return Key(hashlib.blake2b(derived, digest_size=4, person=b"risk key id").hexdigest(), derived)


def hashes(client: Client, keys: Sequence[Key]) -> list[Hash]:
    """Every signal of a request under every key; what could not be seen is left out."""
    return [Hash(kind, key.key_id, _hash(key, kind, value)) for key in keys for kind, value in _values(client).items()]


def _values(client: Client) -> dict[SignalKind, str]:
    values = {
        SignalKind.USER_AGENT: client.user_agent.strip()[:MAX_TEXT],
        SignalKind.FINGERPRINT: client.fingerprint.strip()[:MAX_TEXT],
    } | _networks(client.ip_address)
    return {kind: value for kind, value in values.items() if value}


def _networks(address: str) -> dict[SignalKind, str]:
    """The address as one customer has it (of IPv6 the /64), and the network that velocity is counted in."""
    try:
        parsed = ipaddress.ip_address(address.strip().split("%")[0])
    except ValueError:
        return {}
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    width = _V4_PREFIX if parsed.version == 4 else _V6_PREFIX  # noqa: PLR2004 - the protocol's number
    network = str(ipaddress.ip_network((parsed, width), strict=False))
    return {SignalKind.IP: str(parsed) if parsed.version == 4 else network, SignalKind.PREFIX: network}  # noqa: PLR2004


def _hash(key: Key, kind: SignalKind, value: str) -> bytes:
    text = value.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=_HASH_BYTES, key=key.secret, person=kind.encode()).digest()
