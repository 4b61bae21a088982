"""The same charges by simpler ways, without an RPC before them."""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure

_WAYS = {
    "statements": (
        "one transaction per charge, 16 connections",
        "look up, insert, lock, update, outbox; no RPC, no checks, no attribution",
    ),
    "function": ("a PL/pgSQL function per charge, 16 connections", "post_group with one charge; no RPC"),
    "unnest": ("unnest INSERT of 512 into a bare table", "no balances, events, earnings, checks; one index"),
    "copy": ("COPY of 512 into a bare table", "as above"),
}


def measure(bench: Bench) -> Iterator[Figure]:
    """Each way once."""
    for way, (row, note) in _WAYS.items():
        ahead = bench.stage.clock.offset.total_seconds()
        told = bench.stage.run("ways", bench.stage.dsn, way, f"--seconds={bench.size.seconds}", f"--ahead={ahead}")
        bench.answered += int(told["written"])
        yield Figure(row, told["rate"], "charges/s", bench.ratio(told["rate"]), note=note)
