"""The processes of the product: what each is told, and how it says that it is ready."""

import contextlib
import http.client
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import brokers, database
from deploy.local.nowpayments.merchant import EMAIL, derived
from deploy.local.ports import LOOPBACK, SERVICES, Ports, answers, replica_name
from deploy.local.processes import Spec
from deploy.local.state import SECRETS, role_password


@dataclass(frozen=True)
class Surroundings:
    """What every process of one stack is told."""

    project: Path
    ports: Ports
    clock: Path
    secrets: Mapping[str, str]
    broker: str = brokers.KINDS[0]

    def environment(self) -> dict[str, str]:
        ports = self.ports
        return {
            "ENVIRONMENT": "local",
            "TEST_MODE": "1",
            "DEV_CLOCK_FILE": str(self.clock),
            "KAFKA_BOOTSTRAP": f"{LOOPBACK}:{ports.kafka}",
            "KAFKA_IDEMPOTENT": "1" if brokers.is_idempotent(self.broker) else "0",
            "REDIS_URL": f"redis://{LOOPBACK}:{ports.redis}/0",
            **{f"{name.upper()}_ADDRESS": ports.address(name) for name in SERVICES},
            "NOWPAYMENTS_URL": f"http://{LOOPBACK}:{ports.provider}/v1",
            "NOWPAYMENTS_EMAIL": EMAIL,
            "NOWPAYMENTS_PASSWORD": derived(self.secrets["nowpayments_api_key"], "password"),
            "NOWPAYMENTS_TOTP_SECRET": derived(self.secrets["nowpayments_api_key"], "totp"),
            "NOWPAYMENTS_CALLS_PER_SECOND": "1000",
            "NOWPAYMENTS_CALLBACK_URL": f"http://{LOOPBACK}:{ports.gateway}/webhooks/nowpayments/payouts",
            "SHARE_BASE_URL": f"http://{LOOPBACK}:{ports.gateway}/#/referrals",
            "NOWPAYMENTS_IPN_URL": f"http://{LOOPBACK}:{ports.gateway}/webhooks/nowpayments/payments",
            "DRAIN_WAIT_SECONDS": "0",
            # Somebody watches: a board is a second old at most, and what the broker lost is noticed as fast.
            "BOARD_CACHE_SECONDS": "1",
            # Weeks pass in the demo, months do not.
            "RUN_CADENCE": "week",
            "RUN_BEGIN_SECONDS": "1",
            "RUN_POLL_SECONDS": "0.2",
            "HEADS_POLL_SECONDS": "2",
            # All are on one machine: who is slow there is not gone.
            "REDIS_SECONDS": "2",
            "REQUEST_SECONDS": "10",
            **dict.fromkeys(("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE"), ""),
            **{variable: self.secrets[name] for name, variable in VARIABLE_OF.items()},
        }

    def line(self, postgres_dsn: str) -> dict[str, object]:
        """Every address and development secret: what `make up` prints."""
        ports = self.ports
        return {
            "gateway": f"http://{LOOPBACK}:{ports.gateway}",
            **{name: ports.address(name) for name in SERVICES},
            "postgres": postgres_dsn,
            "redis": f"redis://{LOOPBACK}:{ports.redis}/0",
            "kafka": f"{LOOPBACK}:{ports.kafka}",
            "provider": f"http://{LOOPBACK}:{ports.provider}/v1",
            "secrets": {name: self.secrets[name] for name in SECRETS},
        }


VARIABLE_OF = {name: name.upper() for name in SECRETS} | {"jwt_secret": "JWT_HS256_SECRET"}


def service(name: str, around: Surroundings, replica: int = 0) -> Spec:
    """A replica of one of the five gRPC services."""
    ports = around.ports
    password = role_password(around.secrets["postgres_password"], name)
    own = {
        "POSTGRES_DSN": f"postgresql://{name}:{password}@{LOOPBACK}:{ports.postgres}/{database.NAME}",
        "GRPC_LISTEN": f"{LOOPBACK}:{ports.service(name, replica)}",
        "PROBES_LISTEN": f"{LOOPBACK}:{ports.probes(name, replica)}",
        "METRICS_LISTEN": f"{LOOPBACK}:{ports.metrics(name, replica)}",
    }
    module, probes = f"services.{name}", ports.probes(name, replica)
    return _python(replica_name(name, replica), module, around, own, lambda: is_serving(probes))


def gateway(around: Surroundings, replica: int = 0) -> Spec:
    ports = around.ports
    port, metrics = ports.gateway, ports.gateway_metrics
    if replica:
        port, metrics = ports.second_gateway, ports.second_gateway_metrics
    own = {"GATEWAY_LISTEN": f"{LOOPBACK}:{port}", "METRICS_LISTEN": f"{LOOPBACK}:{metrics}"}
    return _python(replica_name("gateway", replica), "gateway", around, own, lambda: is_ok(port, "/readyz"))


def provider(around: Surroundings) -> Spec:
    """The simulator of the payment provider."""
    port = around.ports.provider
    own = {"PROVIDER_LISTEN": f"{LOOPBACK}:{port}"}
    return _python("provider", "deploy.local.nowpayments", around, own, lambda: is_ok(port, "/v1/status"))


def _python(name: str, module: str, around: Surroundings, own: Mapping[str, str], ready: Callable[[], bool]) -> Spec:
    environment = around.environment() | dict(own)
    return Spec(name, (sys.executable, "-m", module), around.project, ready, environment)


def is_serving(port: int) -> bool:
    """What the gRPC health service on `port` says."""
    if not answers(port):
        return False
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def is_ok(port: int, path: str) -> bool:
    """Whether a GET answers 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    return False
