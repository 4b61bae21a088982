"""One line of the table: what was measured, what it must reach, and whether it does."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

Bound = tuple[Callable[[float, float], bool], float]


def at_least(value: float) -> Bound:
    """What must not be lower."""
    return operator.ge, value


def below(value: float) -> Bound:
    """What must stay lower."""
    return operator.lt, value


_SIGNS: dict[object, str] = {operator.ge: "≥", operator.lt: "<"}


@dataclass(frozen=True)
class Figure:
    """A number in its unit; `ratio` is to the empty echo of the same run, and is what binds where there is one."""

    row: str
    value: float
    unit: str
    ratio: float | None = None
    target: Bound | None = None
    floor: float | None = None
    """What the ratio, in the best of all rounds, may never fall below: the guard's."""
    best_ratio: float | None = None
    note: str = ""

    @property
    def binding(self) -> float:
        """The number that the target is for."""
        return self.value if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether it reaches its target; None where it has none."""
        if self.target is None:
            return None
        compare, bound = self.target
        return compare(self.binding, bound)

    @property
    def fell(self) -> bool:
        """Whether it is lower than its floor."""
        best = self.ratio if self.best_ratio is None else self.best_ratio
        return self.floor is not None and best is not None and best < self.floor

    def told_target(self) -> str:
        if self.target is None:
            return ""
        compare, bound = self.target
        unit = "x echo" if self.ratio is not None else self.unit
        return f"{_SIGNS[compare]} {bound:,g} {unit}"
