"""The issuer's public keys: a JWK set from a URL or a file, cached, and read again for a key that is not in it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey, RSAKey

from gateway.problems import KeysUnavailable
from libs.nesting import shallow
from libs.telemetry import logger

PublicKey = OKPKey | RSAKey
Fetch = Callable[[], Awaitable[bytes]]

MAX_BYTES = 256 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048
FETCH_SECONDS = 3.0

log = logger(__name__)


class Keys(Protocol):
    """Finds the key a token was signed with."""

    async def find(self, kty: str, kid: str | None) -> PublicKey | None:
        """The key of that type and id; without an id, the only key of that type. Raises KeysUnavailable."""


class CachedKeys:
    """Keys that are read again after `max_age` seconds, and at most once in `cooldown` seconds for an unknown id.

    What was read once is kept while the issuer cannot be asked.
    """

    def __init__(self, fetch: Fetch, *, max_age: float = 300, cooldown: float = 10) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._cooldown = cooldown
        self._lock = asyncio.Lock()
        self._keys: list[PublicKey] | None = None
        self._read_at = float("-inf")
        self._tried_at = float("-inf")

    async def find(self, kty: str, kid: str | None) -> PublicKey | None:
        """The key of that type and id; without an id, the only key of that type. Raises KeysUnavailable."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at > self._max_age:
            await self._refresh()
        found = self._lookup(kty, kid)
        if found is None and kid is not None:
            await self._refresh()
            found = self._lookup(kty, kid)
        if self._keys is None:
            raise KeysUnavailable(headers={"Retry-After": "1"})
        return found

    def _lookup(self, kty: str, kid: str | None) -> PublicKey | None:
        fitting = [key for key in self._keys or () if key.key_type == kty]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    async def _refresh(self) -> None:
        """One at a time; whoever waited for another's attempt takes its outcome."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._tried_at < self._cooldown:
                return
            self._tried_at = now
            try:
                async with asyncio.timeout(FETCH_SECONDS):
                    self._keys = read_keys(await self._fetch())
            except (OSError, TimeoutError, ValueError, aiohttp.ClientError) as error:
                log.warning("signing keys not read", error=type(error).__name__)
                return
            self._read_at = now


def read_keys(raw: bytes) -> list[PublicKey]:
    """The signing keys of a JWK set that are of use here; raises ValueError for what is no key set.

    Symmetric keys are left out, so that a public key can never be taken for a shared secret.
    """
    if len(raw) > MAX_BYTES:
        raise ValueError("the key set is too large")
    document = json.loads(shallow(raw))
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("this is no JWK set")  # noqa: TRY004 - content, not a type
    keys = [_key(entry) for entry in entries[:MAX_KEYS]]
    usable = [key for key in keys if key is not None]
    if not usable:
        raise ValueError("the key set holds no usable key")
    return usable


def _key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    try:
        if entry.get("kty") == "RSA" and entry.get("alg", "RS256") == "RS256":
            if len(entry["n"]) * 6 < MIN_RSA_BITS:
                return None  # before it is imported, which would warn
            rsa = RSAKey.import_key({name: entry[name] for name in ("kty", "n", "e", "kid") if name in entry})
            return rsa if rsa.raw_value.key_size >= MIN_RSA_BITS else None
        okp = entry.get("alg", "EdDSA") in {"EdDSA", "Ed25519"}
        if entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519" and okp:
            return OKPKey.import_key({name: entry[name] for name in ("kty", "crv", "x", "kid") if name in entry})
    except (JoseError, ValueError, KeyError, TypeError):
        log.warning("a signing key was left out", kty=str(entry.get("kty"))[:8])
    return None


def from_file(path: str) -> Fetch:
    """Reads the key set from a file."""

    def read() -> bytes:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)

    async def fetch() -> bytes:
        return await asyncio.to_thread(read)

    return fetch


def from_url(http: aiohttp.ClientSession, url: str) -> Fetch:
    """Reads the key set over HTTP, without following redirects."""

    async def fetch() -> bytes:
        async with http.get(url, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004
                raise ValueError(f"the issuer answered {answer.status}")
            return await answer.content.read(MAX_BYTES + 1)

    return fetch
