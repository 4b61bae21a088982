"""Scores: a file of wallets brought in, and a run over everybody who has one."""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure, below

IMPORT_SECONDS_MAX = 60
IMPORT_MIB_MAX = 300
RUN_SECONDS_MAX = 30


def measure(bench: Bench) -> Iterator[Figure]:
    """The pool is a tenth of what the foundation has by the charges of the rows above, or of a few made for it."""
    stage, size = bench.stage, bench.size
    bench.call("batch", each=100)
    stage.start("score")
    told = stage.run(
        "holders",
        f"{stage.score_address}",
        stage.address,
        stage.superuser_dsn,
        str(stage.clock_file),
        str(stage.pid("score")),
        str(size.wallets),
        str(size.holders),
    )
    of_target = size.name == "full"
    note = f"{size.wallets:,} wallets"
    yield Figure(
        "score import", told["import_seconds"], "s", target=below(IMPORT_SECONDS_MAX) if of_target else None, note=note
    )
    yield Figure(
        "score import: memory it takes",
        told["import_mib"],
        "MiB",
        target=below(IMPORT_MIB_MAX) if of_target else None,
        note=note,
    )
    yield Figure(
        "score run, from the end of the week to the commit",
        told["run_seconds"],
        "s",
        target=below(RUN_SECONDS_MAX) if of_target else None,
        note=f"{size.holders:,} accounts",
    )
