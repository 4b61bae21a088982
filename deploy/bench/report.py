"""The table, on the screen and in docs/benchmarks.md."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from deploy.bench.figure import Figure
from deploy.bench.size import Size
from libs.clock import SystemClock

_MARKS = {True: "yes", False: "**no**", None: ""}
_HEADS = ("what", "figure", "x echo", "must reach", "met", "remarks")

_TEXT = """\
# Benchmarks

Written by `{command}` on {day}: {machine}.

Everything runs at once on this one machine: the callers, the services, PostgreSQL with fsync and synchronous_commit on,
and the broker. Absolute figures are this machine's. What counts is the ratio to an empty gRPC call that is served by
the same stack, in the same run, to the same 64 callers, in turns with the rest. Figures are medians of {rounds} rounds
of {seconds} s, each after {warm} s of warming up.

| {heads} |
|---|---:|---:|---|---|---|
{rows}

Commands: `make bench` (this table), `make bench SIZE=small` (a quick look), `make bench ROWS=doors,baselines` (some of
it), `make bench GUARD=1` (the best of three rounds; fails where a ratio is below its floor).
"""


def say(figure: Figure, console: Console) -> None:
    """Tell one line as soon as it is known."""
    console.print(" · ".join(filter(None, _cells(figure))), soft_wrap=True)


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(*_HEADS, box=None)
    for figure in figures:
        table.add_row(*_cells(figure))
    console.print(table)


def write(figures: Sequence[Figure], size: Size, path: Path) -> None:
    """Write the table with the machine that it is of."""
    table = "\n".join(f"| {' | '.join(_cells(figure))} |" for figure in figures)
    chosen = [f"SIZE={size.name}"] if size.name != "full" else []
    chosen += [f"ROWS={rows}"] if (rows := os.environ.get("ROWS")) else []
    command = " ".join(("make bench", *chosen))
    text = _TEXT.format(
        command=command,
        day=SystemClock().now().strftime("%Y-%m-%d"),
        machine=_machine(),
        rounds=size.rounds,
        seconds=f"{size.seconds:g}",
        warm=f"{size.warm_seconds:g}",
        heads=" | ".join(_HEADS),
        rows=table,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (
        figure.row.strip(),
        f"{_number(figure.value)} {figure.unit}".strip(),
        ratio,
        figure.told_target(),
        _MARKS[figure.met],
        figure.note,
    )


def _number(value: float) -> str:
    whole = 100
    return f"{value:,.0f}" if value >= whole else f"{value:,.2f}"


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the end"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
