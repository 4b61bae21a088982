"""The job that settles what is due."""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure, below


def measure(bench: Bench) -> Iterator[Figure]:
    """Everything that the journal holds is due three days from now."""
    told = bench.stage.run("settle", bench.stage.dsn, str(bench.stage.clock_file))
    shares = int(told["shares"])
    if shares < bench.size.due:
        raise RuntimeError(f"{shares} shares settled where {bench.size.due} were to be due")
    per_million = told["seconds"] / shares * 1e6
    yield Figure("settle a million due earnings", per_million, "s", target=below(60), note=f"{shares:,} were settled")
