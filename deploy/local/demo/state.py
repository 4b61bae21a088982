"""What a second run must know of the first, so that it sends the same charges and is paid nothing twice."""

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path


@dataclass(slots=True)
class DemoState:
    """`waves` sign-up waves are done; `anchor` is the instant of the first charge, fixed before it is sent."""

    waves: int = 0
    anchor: str = ""
    settled: bool = False

    @property
    def first_charge_at(self) -> datetime | None:
        return datetime.fromisoformat(self.anchor) if self.anchor else None


def read(path: Path) -> DemoState:
    """The state of an earlier run, or a fresh one."""
    return DemoState(**json.loads(path.read_text())) if path.exists() else DemoState()


def write(path: Path, state: DemoState) -> None:
    """Replaces the file at once and durably: a run that is cut off leaves the old state or the new."""
    beside = path.with_suffix(".new")
    with beside.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
