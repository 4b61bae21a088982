"""`python deploy/pins.py referral > requirements.txt`: the part of `constraints.txt` that one image needs, with hashes.

Roots are the project's own dependencies and one extra's; uv notes beside each pin who asked for it: that is followed.
Needs the standard library only: it runs before anything is installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One package of `constraints.txt`: its lines, and the names of those that need it."""

    name: str
    text: str
    asked_by: frozenset[str]


def normal(name: str) -> str:
    """A name as it is compared: case, dots and dashes do not matter."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name.strip(), maxsplit=1)[0]).lower()


def pins(text: str) -> Iterator[Pin]:
    """Every pin of a constraints file that uv wrote."""
    starts = [match.start() for match in _PIN.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        block = text[start:end]
        comments = re.findall(r"^ +# +(?:via ?)?(.*)$", block, re.MULTILINE)
        yield Pin(normal(block), block, frozenset(normal(each) for each in comments if each))


def roots(project: str, extra: str | None) -> set[str]:
    """Names that `pyproject.toml` asks for: its own and one extra's, or only a package's where it has no such extra."""
    declared = tomllib.loads(project)["project"]
    extras = declared["optional-dependencies"]
    if extra is not None and extra not in extras:
        return {normal(extra)}
    return {normal(each) for each in (*declared["dependencies"], *extras.get(extra, ()))}


def chosen(constraints: str, wanted: set[str]) -> list[Pin]:
    """The pins of `wanted` and of all that they need. Raises LookupError for a name that is not pinned."""
    known = {pin.name: pin for pin in pins(constraints)}
    if missing := wanted - known.keys():
        raise LookupError(f"not pinned: {', '.join(sorted(missing))}")
    needed = set(wanted)
    while more := {pin.name for pin in known.values() if pin.asked_by & needed} - needed:
        needed |= more
    return [pin for pin in known.values() if pin.name in needed]


def main() -> None:
    """Write the pins of the extra, or of the package, that is named first."""
    project, constraints = (ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text()
    sys.stdout.writelines(pin.text for pin in chosen(constraints, roots(project, sys.argv[1])))


if __name__ == "__main__":
    main()
