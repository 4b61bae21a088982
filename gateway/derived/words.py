"""What the protocol's comments say, word for word: descriptors do not carry them."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

_BLOCK: Final = re.compile(r"(?:message|service|enum) (\w+) ")
_MEMBER: Final = re.compile(r"(?:rpc (\w+)\(|(?:repeated )?[\w.]+ (\w+) = \d+)")


def said(declared: Any) -> str:
    """The comment over a message, field or method, as one line; empty where there is none."""
    outer = getattr(declared, "containing_type", None) or getattr(declared, "containing_service", None)
    name = f"{outer.name}.{declared.name}" if outer else declared.name
    file = (outer or declared).file.name
    return _comments(file).get(name, "")


def upper_snake(name: str) -> str:
    """The protocol's prefix of an enum's values: CodeState → CODE_STATE."""
    return "".join(f"_{letter}" if letter.isupper() and index else letter for index, letter in enumerate(name)).upper()


@cache
def _comments(file: str) -> dict[str, str]:
    """The comments of one .proto file, by `Block` and `Block.member`."""
    found: dict[str, str] = {}
    block, lines = "", list[str]()
    for line in map(str.strip, (ROOT / file).read_text().splitlines()):
        if line.startswith("//"):
            lines.append(line.lstrip("/ "))
            continue
        if opened := _BLOCK.match(line):
            block = opened[1]
            found[block] = " ".join(lines)
        elif member := _MEMBER.match(line):
            found[f"{block}.{member[1] or member[2]}"] = " ".join(lines)
        lines = []
    return found
