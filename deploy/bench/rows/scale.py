"""Everything again with a journal of millions, and across a checkpoint."""

from collections.abc import Iterator

from deploy.bench.bench import Bench, middle
from deploy.bench.figure import Figure, at_least
from deploy.bench.rows import doors, ingestion

_KEPT = 0.9


def measure(bench: Bench) -> Iterator[Figure]:
    """Ratios beside those from before: with ids in order of time, then at random."""
    stage = bench.stage
    loaded = stage.run("load", stage.superuser_dsn, str(stage.clock_file), str(bench.size.stored))
    bench.answered += bench.size.stored
    what = f"{bench.size.stored:,} distributions stored"
    yield Figure(what, loaded["bytes"] / 2**30, "GiB", note=f"loaded in {loaded['seconds']:.0f} s")
    for order in bench.size.orders:
        stage.fetch("CHECKPOINT")
        told = doors.rounds(bench, order=order)
        echo = bench.echo = middle(told["echo"])
        for kind in doors.KINDS:
            rate = middle(told[kind])
            yield _beside(bench, kind, f"{kind}, {order} ids", rate, echo, binds=order == "time-ordered")
    if not bench.size.orders:
        return
    rate = ingestion.read(bench)
    yield _beside(bench, "ingestion", "ingestion, time-ordered ids", rate, bench.echo, binds=True)


def _beside(bench: Bench, kind: str, row: str, rate: float, echo: float, *, binds: bool) -> Figure:
    kept = rate / echo / bench.baseline[kind]
    return Figure(
        f"  then {row}: kept of before",
        kept,
        "",
        target=at_least(_KEPT) if binds else None,
        note=f"{rate:,.0f}/s, {rate / echo:.2f} x echo, a checkpoint just before",
    )
