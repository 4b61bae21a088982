"""How deeply JSON is nested, told without parsing it: a parser goes as deep as the stack lets it, or deeper."""

import re
from typing import Final

DEPTH_MAX: Final = 32
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")


class TooDeep(ValueError):
    """The JSON is nested more deeply than anything that is read here."""


def depth(raw: bytes) -> int:
    """The most brackets that are open at once, outside of strings."""
    deepest = opened = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", raw)):
        opened += 1 if bracket in b"[{" else -1
        deepest = max(deepest, opened)
    return deepest


def shallow(raw: bytes | str) -> bytes:
    """`raw`, to be parsed now. Raises TooDeep, a ValueError as the parser's own."""
    raw = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    # So few brackets cannot be too deep, and nearly every text is such a one.
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX and depth(raw) > DEPTH_MAX:
        raise TooDeep
    return raw
