"""Which broker a stack or a run of the tests stands on: the one from a wheel, or BROKER=kafka."""

import os
from pathlib import Path

from deploy.local import kafka, servers
from deploy.local.processes import Spec
from deploy.local.trouble import Trouble

KINDS = ("tansu", "kafka")


def chosen() -> str:
    """What BROKER says. Raises Trouble where there is no such broker."""
    kind = os.environ.get("BROKER") or KINDS[0]
    if kind not in KINDS:
        raise Trouble(f"BROKER={kind} is no broker: choose one of {', '.join(KINDS)}.")
    return kind


def server(kind: str, directory: Path, port: int, controller_port: int) -> Spec:
    """The one broker of a stack: tansu forgets all topics when it ends, Apache Kafka keeps them."""
    if kind == "kafka":
        return kafka.server(directory, kafka.Node(1, port, controller_port))
    return servers.tansu(directory, port)


def is_idempotent(kind: str) -> bool:
    """Whether it takes producers that number what they send; tansu refuses them."""
    return kind == "kafka"
