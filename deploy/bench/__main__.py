"""`python -m deploy.bench`: measures, prints one table, writes it to docs/benchmarks.md.

Environment: SIZE (smallest, small, full), ROWS (names of `deploy.bench.rows`, with commas; all), GUARD (1: fail where
a ratio fell below its floor, and leave the document as it is), BENCH_REPORT (another place for the document).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.bench import report
from deploy.bench.bench import Bench
from deploy.bench.figure import Figure
from deploy.bench.rows import ALL
from deploy.bench.size import SIZES
from deploy.bench.stage import Stage
from deploy.local.state import PROJECT
from deploy.local.trouble import Trouble

_GUARDED = ("doors", "ingestion")
_ANSWERED = "SELECT count(*) FROM distributions"


def _wanted(given: str, *, guard: bool) -> list[str]:
    names = given.split(",") if given else list(_GUARDED if guard else ALL)
    if strangers := [name for name in names if name not in ALL]:
        raise Trouble(f"ROWS={','.join(strangers)}: choose from {', '.join(ALL)}.")
    # The echo is measured there.
    return list(dict.fromkeys(("doors", *names)))


def measure(bench: Bench, names: Sequence[str], console: Console) -> list[Figure]:
    """Every row, and at the end whether what was answered is what the journal holds."""
    figures: list[Figure] = []
    for name in names:
        for figure in ALL[name](bench):
            figures.append(figure)
            report.say(figure, console)
    written: int = bench.stage.fetch(_ANSWERED)[0][0]
    if written != bench.answered:
        raise Trouble(f"{bench.answered} charges were answered, and {written} are in the journal.")
    figures.append(Figure("charges answered, and in the journal at the end", written, "charges"))
    return figures


def main() -> int:
    """Return 1 where the guard found something."""
    guard = os.environ.get("GUARD", "") not in {"", "0"}
    size = SIZES.get(os.environ.get("SIZE") or ("small" if guard else "full"))
    if size is None:
        raise Trouble(f"SIZE: choose from {', '.join(SIZES)}.")
    names = _wanted(os.environ.get("ROWS", ""), guard=guard)
    console = Console(stderr=True, highlight=False)
    with Stage(size.payers, hasty=size.hasty) as stage:
        figures = measure(Bench(stage, size), names, console)
    report.show(figures, Console(width=200, highlight=False))
    if guard:
        return _guard(figures)
    report.write(figures, size, Path(os.environ.get("BENCH_REPORT") or PROJECT / "docs" / "benchmarks.md"))
    return 0


def _guard(figures: Sequence[Figure]) -> int:
    fallen = [figure for figure in figures if figure.fell]
    for figure in fallen:
        print(f"{figure.row}: {figure.binding:.2f} x echo, and its floor is {figure.floor}", file=sys.stderr)
    return 1 if fallen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(str(trouble))
