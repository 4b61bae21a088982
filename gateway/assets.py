"""The pages and what they are made of, read once: each file with its digest, and compressed where that pays.

An asset's address holds the digest of all of them, so that it may be kept for ever and a new release is seen at once.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "pages"
CHARTS: Final = "chartkick/django/static/chartkick/Chart.bundle.js"
"""Chart.js, as the wheel of chartkick carries it."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""The pages' content security policy: nothing from other hosts, nothing inline, no text made into markup."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MARK: Final = "%ASSETS%"
_MODE: Final = "%MODE%"


@dataclass(frozen=True)
class Asset:
    """One file as it is sent."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class Assets:
    """Everything the pages need."""

    version: str
    files: Mapping[str, Asset]
    pages: Mapping[str, Asset]
    """By name of the file and mode: `index.html live`, `index.html test`."""


@lru_cache(maxsize=1)
def load() -> Assets:
    """Read all files; raises where the charts' package is missing."""
    raw = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}
    raw["charts.js"] = _charts()
    version = _digest(b"\0".join(name.encode() + b"\0" + content for name, content in sorted(raw.items())))
    pages = {name: content.decode().replace(_MARK, f"/assets/{version}") for name, content in _of(raw, ".html")}
    return Assets(
        version=version,
        files={name: _asset(name, content) for name, content in raw.items() if not name.endswith(".html")},
        pages={
            f"{name} {mode}": _asset(name, text.replace(_MODE, mode).encode())
            for name, text in pages.items()
            for mode in ("live", "test")
        },
    )


def _of(raw: Mapping[str, bytes], suffix: str) -> list[tuple[str, bytes]]:
    return [(name, content) for name, content in raw.items() if name.endswith(suffix)]


def _asset(name: str, content: bytes) -> Asset:
    compressed = gzip.compress(content, mtime=0)
    return Asset(content, compressed, _TYPES[Path(name).suffix], f'"{_digest(content)}"')


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _charts() -> bytes:
    path = metadata.distribution("chartkick").locate_file(CHARTS)
    return Path(str(path)).read_bytes()
