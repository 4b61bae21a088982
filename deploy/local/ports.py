"""Which ports the stack uses, which are free, and who holds the others."""

import contextlib
import itertools
import random
import socket
from dataclasses import dataclass

import psutil

from deploy.local.trouble import Trouble

LOOPBACK = "127.0.0.1"
SERVICES = ("referral", "distribution", "payout", "score", "leaderboard")
PROBES_OFFSET, METRICS_OFFSET = 20, 40
REPLICA_OFFSET = 50
REPLICAS_MAX = 2
SPAN = 100
LOWEST, HIGHEST = 1024, 65_535 - SPAN
# Below the range that kernels hand out for outgoing connections, so that nothing takes a port between choice and use,
# nor between the end of a server and its next start.
FREE_PORTS = range(10_000, 20_000)
FREE_BASES = range(20_000, 32_000, SPAN)
# Whoever seeds chance for its own ends, as property tests do, would have two processes choose the same.
_CHANCE = random.SystemRandom()


@dataclass(frozen=True)
class Ports:
    """Every port of one stack, counted from its base."""

    base: int = 8000

    replicas: int = 1

    def service(self, name: str, replica: int = 0) -> int:
        return self.base + 1 + SERVICES.index(name) + REPLICA_OFFSET * replica

    def probes(self, name: str, replica: int = 0) -> int:
        return self.service(name, replica) + PROBES_OFFSET

    def metrics(self, name: str, replica: int = 0) -> int:
        return self.service(name, replica) + METRICS_OFFSET

    def address(self, name: str) -> str:
        """Where a service answers: every replica, as a headless service's name would be resolved."""
        each = [f"{LOOPBACK}:{self.service(name, replica)}" for replica in range(self.replicas)]
        return each[0] if len(each) == 1 else f"ipv4:{','.join(each)}"

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
    def kafka_controller(self) -> int:
        """Where Apache Kafka's nodes agree; other brokers have no such port."""
        return self.base + 36

    @property
    def provider(self) -> int:
        return self.base + 35

    @property
    def gateway_metrics(self) -> int:
        return self.base + 46

    @property
    def second_gateway(self) -> int:
        return self.base + 81

    @property
    def second_gateway_metrics(self) -> int:
        return self.base + 96

    @property
    def gateway(self) -> int:
        return self.base + 80

    def named(self) -> dict[str, int]:
        """What each port is for → its number."""
        found = {
            "postgres": self.postgres,
            "redis": self.redis,
            "kafka": self.kafka,
            "kafka's controller": self.kafka_controller,
            "provider": self.provider,
            "gateway": self.gateway,
            "gateway metrics": self.gateway_metrics,
        }
        if self.replicas > 1:
            found |= {"gateway-2": self.second_gateway, "gateway-2 metrics": self.second_gateway_metrics}
        for service, replica in itertools.product(SERVICES, range(self.replicas)):
            name = replica_name(service, replica)
            found[name] = self.service(service, replica)
            found[f"{name} probes"] = self.probes(service, replica)
            found[f"{name} metrics"] = self.metrics(service, replica)
        return found


def replica_name(name: str, replica: int) -> str:
    """What a replica's process is called: referral, referral-2."""
    return f"{name}-{replica + 1}" if replica else name


def parse_base(text: str, replicas: str = "1") -> Ports:
    """PORT_BASE and REPLICAS as the person gave them; raises Trouble when they cannot be that."""
    if not (text.isascii() and text.isdigit() and LOWEST <= int(text) <= HIGHEST):
        raise Trouble(
            f"PORT_BASE={text} is no port between {LOWEST} and {HIGHEST}: choose, for example, PORT_BASE=9000."
        )
    if replicas not in {str(each) for each in range(1, REPLICAS_MAX + 1)}:
        raise Trouble(f"REPLICAS={replicas} cannot be: one machine runs one of each service, or two.")
    return Ports(int(text), int(replicas))


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
    for _ in FREE_PORTS:
        if is_free(port := _CHANCE.choice(FREE_PORTS)):
            return port
    raise Trouble("No free port is left on this machine: stop what holds them.")


def free_ports(replicas: int = 1) -> Ports:
    """A base whose whole span is free, and this process's from now on: nobody else who asks here is given it."""
    for base in _CHANCE.sample(FREE_BASES, len(FREE_BASES)):
        ports = Ports(base, replicas)
        if _reserve(base) and all(map(is_free, ports.named().values())):
            return ports
    raise Trouble("No free range of ports is left on this machine: stop what holds them.")


def _reserve(base: int) -> bool:
    """Holds the base itself, which no server uses, to this process's end; False where somebody holds it."""
    holder = socket.socket()
    try:
        holder.bind((LOOPBACK, base))
    except OSError:
        holder.close()
        return False
    holder.detach()
    return True
