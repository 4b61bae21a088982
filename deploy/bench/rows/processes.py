"""What a service takes to be there: memory and the time of a start."""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure


def measure(bench: Bench) -> Iterator[Figure]:
    """Distribution's; how much memory the others have is told where all of them are up."""
    stage = bench.stage
    loaded = stage.memory_mib("distribution")
    stage.stop("distribution")
    started = stage.start("distribution")
    yield Figure("start of distribution until ready", started, "s", note="migrations applied before")
    yield Figure(
        "memory of distribution at rest", stage.memory_mib("distribution"), "MiB", note="resident, started anew"
    )
    yield Figure("memory of distribution under load", loaded, "MiB", note="resident, after the rows above")
