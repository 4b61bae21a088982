"""The bench measures what it says: not how fast anything is here, but that every charge that it counts is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bench.figure import Figure, at_least, below
from deploy.local.state import PROJECT

# Dozens of processes start one after the other: a minute here is many on a slower machine.
pytestmark = pytest.mark.timeout(900)


def bench(report: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.bench"],
        cwd=PROJECT,
        env=os.environ | {"SIZE": "smallest", "BENCH_REPORT": str(report), "GUARD": ""} | environment,
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )


def test_every_row_is_measured_and_every_charge_counted_is_in_the_journal(tmp_path: Path) -> None:
    report = tmp_path / "benchmarks.md"
    done = bench(report, ROWS="doors,ingestion,baselines,replicas,scale,settlement")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in report.read_text().splitlines() if line.startswith("| ")]
    measured = {row[0]: row[1] for row in rows}
    for name in (
        "empty gRPC echo",
        "Finalize",
        "FinalizeBatch of 100",
        "Kafka ingestion",
        "Finalize, 4 processes",
        "settle a million due earnings",
    ):
        assert float(re.sub(r"[^\d.]", "", measured[name])) > 0, name
    # It compares what was answered with what is there itself, and ends with 1 where they differ.
    there = int(re.sub(r"\D", "", measured["charges answered, and in the journal at the end"]))
    assert there > 4_000


def test_a_row_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = bench(tmp_path / "benchmarks.md", ROWS="doors,wishes")
    assert (done.returncode, done.stderr.strip().startswith("ROWS=wishes: choose from doors")) == (1, True)


@pytest.mark.parametrize(
    ("figure", "met", "fell"),
    [
        (Figure("a", 100.0, "/s", 0.7, at_least(0.65), 0.6), True, False),
        (Figure("a", 100.0, "/s", 0.6, at_least(0.65), 0.6), False, False),
        (Figure("a", 100.0, "/s", 0.5, at_least(0.65), 0.6), False, True),
        (Figure("a", 100.0, "/s", 0.5, at_least(0.65), 0.6, best_ratio=0.61), False, False),
        (Figure("a", 49.9, "ms", target=below(50)), True, False),
        (Figure("a", 50.0, "ms", target=below(50)), False, False),
        (Figure("a", 50.0, "ms"), None, False),
    ],
)
def test_a_figure_knows_whether_it_is_good_enough(figure: Figure, met: bool | None, fell: bool) -> None:  # noqa: FBT001
    assert (figure.met, figure.fell) == (met, fell)
