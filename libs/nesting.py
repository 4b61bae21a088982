"""How deeply JSON is nested, told without parsing it: a parser goes as deep as the stack lets it."""

import re
from typing import Final

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")


def depth(raw: bytes) -> int:
    """The most brackets that are open at once, outside of strings."""
    deepest = opened = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", raw)):
        opened += 1 if bracket in b"[{" else -1
        deepest = max(deepest, opened)
    return deepest
