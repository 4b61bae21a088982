"""What is measured, in the order of the table: a noun's rows are one module, and stand here once."""

from typing import Final

from deploy.bench.bench import Measure
from deploy.bench.rows import (
    audit,
    baselines,
    doors,
    front_door,
    ingestion,
    packages,
    processes,
    replicas,
    scale,
    scores,
    settlement,
)

ALL: Final[dict[str, Measure]] = {
    "doors": doors.measure,
    "ingestion": ingestion.measure,
    "baselines": baselines.measure,
    "packages": packages.measure,
    "processes": processes.measure,
    "replicas": replicas.measure,
    "scale": scale.measure,
    "audit": audit.measure,
    "settlement": settlement.measure,
    "scores": scores.measure,
    "front_door": front_door.measure,
}
"""`doors` comes first: it measures the echo that every ratio is to."""
