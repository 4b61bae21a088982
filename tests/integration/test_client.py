"""The client as an integrator meets it: a wheel in a Python of its own, and its calls by certificate."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.client import build
from libs import rpc
from libs.client import Certificates, Code, Platform, Refused
from libs.client.connection import LOOK_EVERY_SECONDS, Connection
from protos.distribution.v1 import distribution_pb2 as pb
from protos.distribution.v1 import distribution_pb2_grpc
from tests.support.certificates import Authority, written
from tests.support.integrator import ran

SERVICE = "creator.distribution.v1.DistributionService"


def test_the_same_sources_make_the_same_wheel(tmp_path: Path) -> None:
    assert build(tmp_path / "one").read_bytes() == build(tmp_path / "two").read_bytes()


def test_the_wheel_needs_nothing_but_grpc(integrator: Path, tmp_path: Path) -> None:
    loaded = ran(
        integrator,
        "-c",
        "import sys, creator_economy; print(creator_economy.__file__, *{name.split('.')[0] for name in sys.modules})",
        directory=tmp_path,
    ).split()
    assert Path(loaded[0]).is_relative_to(integrator.parents[1])
    assert {"grpc", "google", "grpc_status"} <= set(loaded)
    assert not {"asyncpg", "opentelemetry", "structlog", "aiokafka", "libs", "protos"} & set(loaded)


class Flaky(distribution_pb2_grpc.DistributionServiceServicer):
    """Away twice, then there."""

    def __init__(self) -> None:
        self.calls = 0

    async def Finalize(self, request: Any, context: Any) -> pb.FinalizeResponse:  # noqa: N802 - named by the protocol
        self.calls += 1
        if self.calls < 3:
            raise rpc.DependencyUnavailable
        return pb.FinalizeResponse(distribution_id=rpc.current_caller())


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[Authority, rpc.Server, Flaky]]:
    """A server that lets in billing alone, by certificate."""
    authority, servicer = Authority(), Flaky()  # type: ignore[abstract] # the server answers UNIMPLEMENTED for the rest
    server = rpc.Server("distribution", tls=authority.issue("distribution"), drain_wait_seconds=0)
    add = distribution_pb2_grpc.add_DistributionServiceServicer_to_server
    server.add(add, servicer, SERVICE, dict.fromkeys(("Finalize",), frozenset({"billing"})))
    await server.start()
    yield authority, server, servicer
    await server.drain(hasty=True)


def certificates(tls: rpc.Tls, directory: Path) -> Certificates:
    files = written(tls, directory)
    return Certificates(*(Path(files[name]) for name in ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE")))


async def test_a_call_that_meets_an_outage_is_repeated_and_known_by_its_certificate(
    guarded: tuple[Authority, rpc.Server, Flaky], tmp_path: Path
) -> None:
    authority, server, servicer = guarded
    place = f"127.0.0.1:{server.port}"
    files = certificates(authority.issue("billing"), tmp_path)
    async with Platform(distribution=place, referral=place, caller="nobody", certificates=files) as platform:
        answer = await platform.finalize(pb.FinalizeRequest())
    assert (answer.distribution_id, servicer.calls) == ("billing", 3)


async def test_who_is_not_on_the_list_is_told_so(guarded: tuple[Authority, rpc.Server, Flaky], tmp_path: Path) -> None:
    authority, server, servicer = guarded
    place = f"127.0.0.1:{server.port}"
    files = certificates(authority.issue("score"), tmp_path)
    async with Platform(distribution=place, referral=place, certificates=files) as platform:
        with pytest.raises(Refused) as refused:
            await platform.finalize(pb.FinalizeRequest())
    assert (refused.value.code, refused.value.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    assert servicer.calls == 0


async def test_a_renewed_certificate_is_used_without_a_restart(
    guarded: tuple[Authority, rpc.Server, Flaky], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, server, servicer = guarded
    servicer.calls = 2
    files = certificates(authority.issue("score"), tmp_path)
    now = 1000.0
    monkeypatch.setattr("libs.client.connection.time.monotonic", lambda: now)
    connection = Connection(f"127.0.0.1:{server.port}", "billing", "distribution", files)
    with pytest.raises(grpc.aio.AioRpcError):
        await connection.stub(distribution_pb2_grpc.DistributionServiceStub).Finalize(pb.FinalizeRequest())
    certificates(authority.issue("billing"), tmp_path)
    now += LOOK_EVERY_SECONDS
    answer = await connection.stub(distribution_pb2_grpc.DistributionServiceStub).Finalize(pb.FinalizeRequest())
    assert answer.distribution_id == "billing"
    await connection.close(0)


async def test_nobody_there_is_a_refusal_too() -> None:
    async with Platform(distribution="127.0.0.1:1", referral="127.0.0.1:1") as platform:
        with pytest.raises(Refused) as refused:
            await platform.finalize(pb.FinalizeRequest(), wait_seconds=1)
    assert refused.value.code in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}
