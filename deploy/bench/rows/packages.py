"""Ledgers from packages, on the same server: what people would pick instead."""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure


def measure(_bench: Bench) -> Iterator[Figure]:
    yield from ()
