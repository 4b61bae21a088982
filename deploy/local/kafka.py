"""Apache Kafka in KRaft mode without Docker: its jars from Maven, Java runs them, loopback only."""

import fcntl
import functools
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK, answers
from deploy.local.processes import Spec
from deploy.local.trouble import Trouble, require_space

POM = Path(__file__).with_name("kafka.xml")
JAVA_MAJOR = 17
FETCH_SECONDS = 600
FORMAT_SECONDS = 60
SPACE_MIB = 512
CLUSTER_ID = "Y3JlYXRvci1lY29ub215MQ"
# A small heap, one collector thread and quick compilation: many of these share a machine with what is tested.
JAVA_OPTIONS = (
    *("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
    *("-Djava.net.preferIPv4Stack=true", "-Dlog4j2.level=WARN"),
)
SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Who is killed is missed in seconds, and a group forms at once.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
}


@dataclass(frozen=True)
class Node:
    """One broker, which is a controller too: where clients find it, and where its fellows do."""

    number: int
    port: int
    controller_port: int


def missing() -> str:
    """Why Apache Kafka cannot run on this machine, in one sentence; empty where it can."""
    java = _java_major()
    if java is None or java < JAVA_MAJOR:
        found = "none was found" if java is None else f"`java` is version {java}"
        return f"Apache Kafka needs Java {JAVA_MAJOR} or newer and {found}."
    if not _jars().exists() and shutil.which("mvn") is None:
        return "Apache Kafka is fetched by Maven and there is no `mvn`."
    return ""


def server(directory: Path, node: Node, fellows: Sequence[Node] = ()) -> Spec:
    """One node of a cluster of `fellows`, itself among them; alone where none are given. Keeps its data.

    Fetches the jars and formats the directory where that was not done yet. Raises Trouble.
    """
    if why := missing():
        raise Trouble(f"{why} Install it, or leave BROKER unset: then a broker from a wheel is used.")
    settings = _settings(directory, node, fellows or (node,))
    classpath = f"{_fetched()}/*"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = (str(shutil.which("java")), *JAVA_OPTIONS, "-cp", classpath)
    if not (directory / "data" / "meta.properties").exists():
        _format((*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(file)))
    argv = (*java, "kafka.Kafka", str(file))
    return Spec("kafka", argv, directory, lambda: answers(node.port))


def _settings(directory: Path, node: Node, nodes: Sequence[Node]) -> dict[str, str]:
    copies, in_sync = min(3, len(nodes)), max(1, min(3, len(nodes)) - 1)
    client = f"PLAINTEXT://{LOOPBACK}:{node.port}"
    return SETTINGS | {
        "node.id": str(node.number),
        "listeners": f"{client},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": client,
        "controller.quorum.voters": ",".join(f"{each.number}@{LOOPBACK}:{each.controller_port}" for each in nodes),
        "log.dirs": str(directory / "data"),
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
    }


def _format(argv: tuple[str, ...]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False)
    if done.returncode != 0:
        raise Trouble(f"Apache Kafka could not make its data directory: {_last_line(done.stdout + done.stderr)}")


def _jars() -> Path:
    """Where the jars of this pom are, or will be: beside the packages that setup installs."""
    version = hashlib.blake2b(POM.read_bytes(), digest_size=6).hexdigest()
    return Path(sys.prefix) / "share" / "creator-economy" / f"kafka-{version}"


def _fetched() -> Path:
    """The jars, fetched at first need; whole or not at all. Raises Trouble."""
    jars = _jars()
    if jars.exists():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with (jars.parent / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            require_space(jars.parent, SPACE_MIB, "Apache Kafka")
            making = Path(tempfile.mkdtemp(prefix="kafka-", dir=jars.parent))
            try:
                _fetch(making)
                making.rename(jars)
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return jars


def _fetch(directory: Path) -> None:
    # -C: a file whose checksum differs is refused.
    maven = (str(shutil.which("mvn")), "--batch-mode", "--quiet", "-C", "-f", str(POM))
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}")
    try:
        done = subprocess.run((*maven, *goal), capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Trouble(f"Maven did not bring Apache Kafka within {FETCH_SECONDS} s: try again.") from None
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or [done.stderr]
        raise Trouble(f"Maven could not bring Apache Kafka: {errors[0].strip()}")


@functools.cache
def _java_major() -> int | None:
    """What `java` is, as 17; None where there is none."""
    java = shutil.which("java")
    if java is None:
        return None
    said = subprocess.run((java, "-version"), capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
