"""Several distribution processes on one database: what they share is the machine, and the rows that all add to."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from deploy.bench.bench import Bench, Told
from deploy.bench.figure import Figure

_PROCESSES = (2, 4)
_CALLERS = 64
_KINDS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "unary": ("Finalize", {}),
    "batch": ("FinalizeBatch of 100", {"each": 100}),
}
_SAMPLE_SECONDS = 0.05
_WAITING = """
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting, count(*) AS writing
    FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT post_group%'
    """


def measure(bench: Bench) -> Iterator[Figure]:
    """As many callers as ever, shared out among the processes."""
    stage = bench.stage
    addresses = [stage.address]
    try:
        for processes in _PROCESSES:
            while len(addresses) < processes:
                addresses.append(stage.start_replica(len(addresses)))
            for kind, (row, how) in _KINDS.items():
                rate, waited = _together(bench, kind, addresses, how)
                kept = rate / bench.echo / bench.baseline[kind]
                note = f"{kept:.2f} x one process; of their writers' time {waited:.0%} went by waiting for one another"
                yield Figure(f"{row}, {processes} processes", rate, "charges/s", bench.ratio(rate), note=note)
    finally:
        for number in range(1, len(addresses)):
            stage.stop_replica(number)


def _together(bench: Bench, kind: str, addresses: Sequence[str], how: Mapping[str, object]) -> tuple[float, float]:
    """The sum of their rates, and the part of the writers' time that locks took."""
    ended = threading.Event()
    seen: list[tuple[int, int]] = []

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            seen.extend((row["waiting"], row["writing"]) for row in bench.stage.fetch(_WAITING))

    def call(address: str) -> Told:
        size, callers = bench.size, _CALLERS // len(addresses)
        return bench.stage.call_at(address, kind, seconds=size.seconds, warm=size.warm_seconds, callers=callers, **how)

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        with ThreadPoolExecutor(len(addresses)) as pool:
            told = list(pool.map(call, addresses))
    finally:
        ended.set()
        sampling.join()
    bench.answered += sum(int(each["answered"]) for each in told)
    writing = sum(each for _, each in seen)
    return sum(each["rate"] for each in told), sum(each for each, _ in seen) / writing if writing else 0.0
