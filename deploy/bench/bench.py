"""One run: its stage, its size, what the echo did, and every charge that was answered."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.bench.figure import Figure
from deploy.bench.size import Size
from deploy.bench.stage import Stage

Told = Mapping[str, float]
"""What one process of callers said: rate, p50_ms, p99_ms and so on."""


@dataclass
class Bench:
    """What the rows share. `echo` is the rate of the empty call that all ratios are to."""

    stage: Stage
    size: Size
    echo: float = 0.0
    answered: int = 0
    """Charges that distribution said are written: as many must be in its journal at the end."""
    baseline: dict[str, float] = field(default_factory=dict)
    """Ratios to compare with later in the run, by row."""

    def call(self, kind: str, **options: object) -> Told:
        """Let callers call for the size's seconds."""
        told = self.stage.call(kind, seconds=self.size.seconds, warm=self.size.warm_seconds, **options)
        if kind != "echo":
            self.answered += int(told["answered"])
        return told

    def ratio(self, rate: float) -> float:
        return rate / self.echo

    def rounds(self, kinds: Sequence[str], **options: object) -> dict[str, list[Told]]:
        """Measure several kinds of calls in turns, so that what the machine does besides meets all of them alike."""
        told: dict[str, list[Told]] = {kind: [] for kind in kinds}
        for _ in range(self.size.rounds):
            for kind in kinds:
                told[kind].append(self.call(kind, **(options if kind != "echo" else {})))
        return told


def middle(told: Sequence[Told], what: str = "rate") -> float:
    """The median round's."""
    return statistics.median(each[what] for each in told)


Measure = Callable[[Bench], Iterator[Figure]]
"""One noun's rows; a module of `deploy.bench.rows` has one."""
