"""Which ports the stack uses, which are free, and who holds the others."""

import contextlib
import random
import socket
from dataclasses import dataclass

import psutil

from deploy.local.trouble import Trouble

LOOPBACK = "127.0.0.1"
SERVICES = ("referral", "distribution", "payout", "score", "leaderboard")
PROBES_OFFSET, METRICS_OFFSET = 20, 40
SPAN = 100
LOWEST, HIGHEST = 1024, 65_535 - SPAN
# Below the range that kernels hand out for outgoing connections, so that nothing takes a port between choice and use.
FREE_BASES = range(20_000, 32_000, SPAN)


@dataclass(frozen=True)
class Ports:
    """Every port of one stack, counted from its base."""

    base: int = 8000

    def service(self, name: str) -> int:
        return self.base + 1 + SERVICES.index(name)

    def probes(self, name: str) -> int:
        return self.service(name) + PROBES_OFFSET

    def metrics(self, name: str) -> int:
        return self.service(name) + METRICS_OFFSET

    @property
    def postgres(self) -> int:
        return self.base + 32

    @property
    def redis(self) -> int:
        return self.base + 33

    @property
    def kafka(self) -> int:
        return self.base + 34

    @property
    def provider(self) -> int:
        return self.base + 35

    @property
    def gateway_metrics(self) -> int:
        return self.base + 46

    @property
    def gateway(self) -> int:
        return self.base + 80

    def named(self) -> dict[str, int]:
        """What each port is for → its number."""
        servers = {"postgres": self.postgres, "redis": self.redis, "kafka": self.kafka, "provider": self.provider}
        gateway = {"gateway": self.gateway, "gateway metrics": self.gateway_metrics}
        services = {name: self.service(name) for name in SERVICES}
        probes = {f"{name} probes": self.probes(name) for name in SERVICES}
        metrics = {f"{name} metrics": self.metrics(name) for name in SERVICES}
        return servers | services | probes | metrics | gateway


def parse_base(text: str) -> Ports:
    """PORT_BASE as the person gave it; raises Trouble when it cannot be one."""
    if not (text.isascii() and text.isdigit() and LOWEST <= int(text) <= HIGHEST):
        raise Trouble(
            f"PORT_BASE={text} is no port between {LOWEST} and {HIGHEST}: choose, for example, PORT_BASE=9000."
        )
    return Ports(int(text))


def is_free(port: int) -> bool:
    """True when a server can listen there now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """True when something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def require_free(ports: Ports) -> None:
    """Raises Trouble for the first port that somebody else holds."""
    for name, port in ports.named().items():
        if not is_free(port):
            raise Trouble(
                f"Port {port} ({name}) is in use{_holder(port)}: stop it, or choose other ports, for example"
                f" PORT_BASE={ports.base + 1000 if ports.base + 1000 <= HIGHEST else 9000}."
            )


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def free_ports() -> Ports:
    """A base whose whole span is free."""
    for base in random.sample(FREE_BASES, len(FREE_BASES)):
        ports = Ports(base)
        if all(map(is_free, ports.named().values())):
            return ports
    raise Trouble("No free range of ports is left on this machine: stop what holds them.")
