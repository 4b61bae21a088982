"""A service's life, as a real process."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import ClientSession
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from deploy.local.ports import free_port
from libs import rpc
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc
from protos.events.v1 import events_pb2, events_pb2_grpc
from tests.support.certificates import Authority, written
from tests.support.eventually import eventually

PROJECT = Path(__file__).parents[2]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Running:
    """A process, its log as it comes, and its doors."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._out, self._err = process.stdout, process.stderr
        self.lines: list[dict[str, Any]] = []
        self.metrics_port = 0

    async def line(self, event: str) -> dict[str, Any]:
        """Read on until it says this."""
        async with asyncio.timeout(20):
            async for raw in self._out:
                line = json.loads(raw) if raw.startswith(b"{") else {"event": raw.decode().strip()}
                self.lines.append(line)
                if line["event"] == event:
                    return line
        raise AssertionError(f"{event!r} was never said: {self.lines} {(await self._err.read()).decode()}")

    async def end(self) -> tuple[int, str]:
        """Return the exit code and what it said on standard error."""
        async with asyncio.timeout(20):
            self.lines += [json.loads(raw) async for raw in self._out if raw.startswith(b"{")]
            return await self.process.wait(), (await self._err.read()).decode()


@asynccontextmanager
async def started(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[Running]:
    quiet = {key: value for key, value in os.environ.items() if not key.endswith(("_DSN", "_LISTEN", "_FILE"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.sample_service",
        *arguments,
        cwd=PROJECT,
        env={**quiet, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def environment(empty_database: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "migrations").mkdir()
    return {
        "ENVIRONMENT": "test",
        "TEST_MODE": "1",
        "POSTGRES_DSN": empty_database,
        "KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",  # nobody there
        "KAFKA_IDEMPOTENT": "0",
        "METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "DRAIN_WAIT_SECONDS": "0.3",
        "SAMPLE_MIGRATIONS": str(tmp_path / "migrations"),
    }


@asynccontextmanager
async def doors(ready: dict[str, Any]) -> AsyncIterator[tuple[grpc.aio.Channel, grpc.aio.Channel]]:
    async with (
        rpc.channel(f"127.0.0.1:{ready['grpc_port']}", caller="gateway") as main,
        grpc.aio.insecure_channel(f"127.0.0.1:{ready['probes_port']}") as probes,
    ):
        yield main, probes


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(answer.status)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_it_answers_while_kafka_is_down_and_still_gives_events_their_place(environment: dict[str, str]) -> None:
    async with started(environment) as service, doors(await service.line("ready")) as (main, probes):
        answer = await distribution_pb2_grpc.DistributionServiceStub(main).Finalize(distribution_pb2.FinalizeRequest())
        log = events_pb2_grpc.EventLogServiceStub(main)
        heads = await log.ListHeads(events_pb2.ListHeadsRequest(topic="referral.registrations.v1"))
        assert answer.rule_version == 7
        assert {head.position for head in heads.heads} == {0}
        assert await health(probes) == await health(probes, "live") == await health(main) == SERVING


async def test_a_call_under_way_is_answered_before_the_process_ends(
    environment: dict[str, str], tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    async with started(environment) as service, doors(await service.line("ready")) as (main, probes):
        stub = distribution_pb2_grpc.DistributionServiceStub(main)
        request = distribution_pb2.FinalizeRequest(inference_charge_id=str(go_on))
        call = asyncio.ensure_future(stub.Finalize(request, timeout=10))
        await service.line("answering")
        service.process.send_signal(signal.SIGTERM)
        await service.line("draining")
        assert await health(probes) == NOT_SERVING
        assert await health(probes, "live") == SERVING
        go_on.touch()
        assert (await call).rule_version == 7
        code, said = await service.end()
    assert (code, said) == (0, "")
    assert service.lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_when_told(environment: dict[str, str], number: signal.Signals) -> None:
    async with started(environment) as service:
        await service.line("ready")
        service.process.send_signal(number)
        assert await service.end() == (0, "")


async def test_told_twice_it_ends_at_once(environment: dict[str, str]) -> None:
    async with started(environment | {"DRAIN_WAIT_SECONDS": "300"}) as service:
        await service.line("ready")
        service.process.send_signal(signal.SIGTERM)
        await service.line("draining")
        service.process.send_signal(signal.SIGTERM)
        assert await service.end() == (0, "")


async def test_a_crashed_part_ends_the_process_and_says_which(environment: dict[str, str]) -> None:
    async with started(environment, "crash") as service:
        assert (await service.end())[0] == 1
    (line,) = [line for line in service.lines if line["event"] == "a part crashed"]
    assert line["part"] == "broken"
    assert "the part is broken" in line["exception"]


async def test_it_waits_for_postgres_and_ends_when_told_while_waiting(environment: dict[str, str]) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    async with started(environment | {"POSTGRES_DSN": nowhere}) as service:
        await service.line("waiting for PostgreSQL")
        service.process.send_signal(signal.SIGTERM)
        assert await service.end() == (0, "")


async def test_it_does_not_wait_for_postgres_for_ever(environment: dict[str, str]) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    async with started(environment | {"POSTGRES_DSN": nowhere, "START_WAIT_SECONDS": "0.5"}) as service:
        assert await service.end() == (1, "PostgreSQL did not answer within 0.5 s: ConnectionRefusedError.\n")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("POSTGRES_DSN", "", "POSTGRES_DSN must be set.\n"),
        ("POSTGRES_DSN", "{dsn}_not", "POSTGRES_DSN is not accepted: InvalidCatalogNameError.\n"),
        ("POSTGRES_DSN", "host/name", "POSTGRES_DSN must be postgresql://user:password@host:port/name.\n"),
        ("KAFKA_BOOTSTRAP", "", "KAFKA_BOOTSTRAP must be set.\n"),
        ("TEST_MODE", "0", "TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE must be set: only test mode goes without.\n"),
        ("TLS_CERT_FILE", "/none", "TLS_CERT_FILE cannot be read: /none: No such file or directory.\n"),
        ("DEV_CLOCK_FILE", "/none/clock", "DEV_CLOCK_FILE cannot be used"),
        ("GRPC_LISTEN", "{busy}", "cannot be listened on"),
        ("METRICS_LISTEN", "{busy}", "is not free"),
    ],
)
async def test_what_keeps_it_from_starting_is_told_in_a_sentence(
    environment: dict[str, str], name: str, value: str, sentence: str
) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        given = value.format(dsn=environment["POSTGRES_DSN"], busy=f"127.0.0.1:{busy.getsockname()[1]}")
        # Any metrics port: one that was free a moment ago may be another test's by now.
        async with started(environment | {"METRICS_LISTEN": "127.0.0.1:0"} | {name: given}) as service:
            code, said = await service.end()
    assert code == 1
    # gRPC's core may have written a line of its own before.
    assert sentence in said.splitlines(keepends=True)[-1]
    assert "Traceback" not in said


async def test_probes_have_nothing_but_health_and_the_main_port_describes_itself(environment: dict[str, str]) -> None:
    async with started(environment) as service, doors(await service.line("ready")) as (main, probes):
        request = reflection_pb2.ServerReflectionRequest(list_services="")

        async def described(channel: grpc.aio.Channel) -> set[str]:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            return {
                each.name
                async for answer in stub.ServerReflectionInfo(iter([request]), timeout=5)
                for each in answer.list_services_response.service
            }

        assert await described(main) == {
            "creator.distribution.v1.DistributionService",
            "creator.events.v1.EventLogService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await described(probes)
        stub = distribution_pb2_grpc.DistributionServiceStub(probes)
        assert await code_of(stub.Finalize(distribution_pb2.FinalizeRequest())) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_that_nobody_wrote_is_unimplemented(environment: dict[str, str]) -> None:
    async with started(environment) as service, doors(await service.line("ready")) as (main, _):
        stub = distribution_pb2_grpc.DistributionServiceStub(main)
        call = stub.FinalizeBatch(distribution_pb2.FinalizeBatchRequest())
        assert await code_of(call) is grpc.StatusCode.UNIMPLEMENTED


async def test_metrics_and_logs_tell_what_was_refused(environment: dict[str, str]) -> None:
    async with started(environment) as service, doors(await service.line("ready")) as (main, _):
        stub = distribution_pb2_grpc.DistributionServiceStub(main)
        request = distribution_pb2.FinalizeRequest(model="none")
        assert await code_of(stub.Finalize(request, metadata=[("x-request-id", "mine")])) is grpc.StatusCode.NOT_FOUND
        line = await service.line("rpc")

        async def idle() -> str:
            async with ClientSession() as http, http.get(f"http://{environment['METRICS_LISTEN']}/metrics") as answer:
                metrics = await answer.text()
            return metrics if 'creator_rpc_in_flight_calls{service="referral"} 0.0' in metrics else ""

        metrics: str = await eventually(idle)
    assert (line["service"], line["request_id"], line["reason"], line["caller"]) == (
        "referral",
        "mine",
        "MODEL_UNKNOWN",
        "gateway",
    )
    assert len(line["trace_id"]) == 32
    assert 'creator_rpc_refusals_total{method="creator.distribution.v1.DistributionService/Finalize"' in metrics


async def test_in_production_services_know_each_other_by_certificate(
    environment: dict[str, str], tmp_path: Path
) -> None:
    authority = Authority()
    production = environment | {"ENVIRONMENT": "production", "TEST_MODE": "0"}
    async with started(production | written(authority.issue("referral"), tmp_path)) as service:
        ready = await service.line("ready")
        address = f"127.0.0.1:{ready['grpc_port']}"
        codes = []
        for name in ("gateway", "stranger"):
            async with rpc.channel(address, caller=name, tls=authority.issue(name), service="referral") as channel:
                stub = distribution_pb2_grpc.DistributionServiceStub(channel)
                codes.append(await code_of(stub.Finalize(distribution_pb2.FinalizeRequest())))
        async with doors(ready) as (_, probes):
            assert await health(probes) == SERVING
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED]
