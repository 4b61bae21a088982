"""Prometheus metrics on a port of their own, and the ones that every service has.

Names: `creator_<service>_<what>_<unit>` for a service's own; shared ones `creator_<what>_<unit>`, labelled `service`.
"""

import threading
from dataclasses import dataclass
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RPC_SECONDS = Histogram(
    "creator_rpc_seconds", "Time to answer a call, by outcome.", ["service", "method", "code"], buckets=SECONDS
)
RPC_REFUSALS = Counter("creator_rpc_refusals_total", "Calls refused, by reason.", ["service", "method", "reason"])
RPC_IN_FLIGHT = Gauge("creator_rpc_in_flight_calls", "Calls being answered now.", ["service"])


@dataclass(frozen=True)
class MetricsServer:
    """A running metrics port."""

    server: WSGIServer
    thread: threading.Thread

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.server.server_port

    def close(self) -> None:
        """Stop answering and free the port."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve_metrics(listen: str) -> MetricsServer:
    """Answer `/metrics` on host:port from a thread; raises OSError where the port is taken."""
    host, _, port = listen.rpartition(":")
    return MetricsServer(*start_http_server(int(port), addr=host.strip("[]")))
