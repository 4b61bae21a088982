"""Charges by the broker: how fast distribution reads what waits for it there."""

import itertools
import time
from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure, at_least

_LATE_SECONDS = 120
_POLL_SECONDS = 0.1
_COUNT = "SELECT count(*) FROM distributions WHERE recorded_at >= $1"
_GROUPS = "SELECT recorded_at, count(*) FROM distributions WHERE recorded_at >= $1 GROUP BY 1 ORDER BY 1"


def measure(bench: Bench) -> Iterator[Figure]:
    """The broker gets them all while distribution is away, so that nobody waits for the producer."""
    rate = read(bench)
    yield Figure("Kafka ingestion", rate, "charges/s", bench.ratio(rate), at_least(3.5), 2.7)
    bench.baseline["ingestion"] = bench.ratio(rate)


def read(bench: Bench, order: str = "time-ordered") -> float:
    """Charges a second, from the first group commit after the warm-up to the last."""
    stage, wanted = bench.stage, bench.size.ingested
    stage.stop("distribution")
    stage.produce(wanted, order)
    since = stage.clock.now()
    stage.start("distribution")
    late = time.monotonic() + _LATE_SECONDS
    while (there := stage.fetch(_COUNT, since)[0][0]) < wanted:
        if time.monotonic() > late:
            raise RuntimeError(f"distribution read {there} of {wanted} charges in {_LATE_SECONDS} s")
        time.sleep(_POLL_SECONDS)
    bench.answered += wanted
    groups = [(at.timestamp(), charges) for at, charges in stage.fetch(_GROUPS, since)]
    return _rate(groups, bench.size.warm_seconds)


def _rate(groups: list[tuple[float, int]], warm_seconds: float) -> float:
    began, ended = groups[0][0], groups[-1][0]
    # A short run is warm when a half of it is over.
    warm = began + min(warm_seconds, (ended - began) / 2)
    counted = list(itertools.dropwhile(lambda group: group[0] < warm, groups))
    seconds = counted[-1][0] - counted[0][0]
    # What one group takes whole has no rate; only the smallest size is that small.
    return sum(charges for _, charges in counted[:-1]) / seconds if seconds else float(sum(each for _, each in groups))
