"""Distribution's calls: one charge, a stream of them, a hundred at once; and the empty ones beside them."""

from collections.abc import Iterator, Mapping, Sequence

from deploy.bench.bench import Bench, Told, middle
from deploy.bench.figure import Figure, at_least, below

KINDS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "unary": ("unary", {}),
    "stream": ("stream", {"window": 16}),
    "stream-one": ("stream-together", {"window": 16}),
    "stream-many": ("stream-together", {"window": 64, "each": 32}),
    "batch": ("batch", {"each": 100}),
}
"""Row key → the kind of call, and how it is made."""
_ROWS: Mapping[str, tuple[str, float | None, float | None]] = {
    "unary": ("Finalize", 0.65, 0.45),
    "stream": ("FinalizeStream, a charge in a message, an answer in another", None, 0.9),
    "stream-one": ("FinalizeStream, a charge in a message, answers together", None, None),
    "stream-many": ("FinalizeStream, 32 charges in a message", 1.7, 1.5),
    "batch": ("FinalizeBatch of 100", 3.5, 2.7),
}
P99_MS_MAX = 50


def measure(bench: Bench) -> Iterator[Figure]:
    """In rounds, the echo in each."""
    told = rounds(bench)
    echo = bench.echo = middle(told["echo"])
    best = max(each["rate"] for each in told["echo"])
    yield Figure("empty gRPC echo", echo, "/s", note="64 callers, as below")
    yield Figure("empty stream echo", middle(told["echo-stream"]), "/s", bench.ratio(middle(told["echo-stream"])))
    for kind, (row, target, floor) in _ROWS.items():
        rate = middle(told[kind])
        bench.baseline[kind] = bench.ratio(rate)
        best_ratio = max(each["rate"] for each in told[kind]) / best
        bound = at_least(target) if target else None
        yield Figure(row, rate, "charges/s", bench.ratio(rate), bound, floor, best_ratio)
    yield Figure("Finalize, p99", middle(told["unary"], "p99_ms"), "ms", target=below(P99_MS_MAX))
    yield Figure("FinalizeBatch of 100, p99", middle(told["batch"], "p99_ms"), "ms")
    for kind, (row, _, _) in _ROWS.items():
        yield Figure(f"{row}: cost", middle(told[kind], "core_seconds"), "core-seconds per million")


def rounds(bench: Bench, kinds: Sequence[str] = tuple(KINDS), **options: object) -> dict[str, list[Told]]:
    """Every kind of call in turns, with what each cost."""
    told: dict[str, list[Told]] = {kind: [] for kind in ("echo", "echo-stream", *kinds)}
    for _ in range(bench.size.rounds):
        told["echo"].append(bench.call("echo"))
        told["echo-stream"].append(bench.call("echo-stream"))
        for key in kinds:
            kind, how = KINDS[key]
            before = bench.stage.cpu_seconds()
            said = bench.call(kind, **how, **options)
            cost = (bench.stage.cpu_seconds() - before) / said["answered"] * 1e6
            told[key].append({**said, "core_seconds": cost})
    return told
