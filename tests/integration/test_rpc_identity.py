"""Who may call: certificates in earnest, words in test mode."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs import rpc
from libs.rpc import Tls
from libs.settings import Deployment, Misconfigured
from protos.events.v1 import events_pb2, events_pb2_grpc
from tests.support.certificates import Authority, written
from tests.support.meshes import SERVICE, Log, served, stub

Request = events_pb2.ListHeadsRequest
CALLERS = {"ListHeads": frozenset({"gateway"})}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def whoever(_request: Request, _context: Any) -> events_pb2.ListHeadsResponse:
    return events_pb2.ListHeadsResponse(heads=[events_pb2.Head(position=len(rpc.current_caller()))])


async def outcome(server: rpc.Server, tls: Tls | None, *, service: str = "sample", caller: str = "gateway") -> str:
    async with stub(server, caller, tls=tls, service=service, wait_seconds=10) as log:
        try:
            answer = await log.ListHeads(Request())
        except grpc.aio.AioRpcError as error:
            return rpc.refusal_of(error).reason
    assert answer.heads[0].position == len("gateway")
    return "OK"


async def test_a_listed_certificate_passes_and_any_other_does_not(authority: Authority) -> None:
    settings: dict[str, Any] = {"test_mode": False, "tls": authority.issue("sample"), "callers": CALLERS}
    async with served(whoever, **settings) as server:
        assert await outcome(server, authority.issue("gateway")) == "OK"
        assert await outcome(server, authority.issue("gateway", "payout")) == "OK"
        assert await outcome(server, authority.issue("payout")) == "CALLER_NOT_ALLOWED"
        assert await outcome(server, authority.issue("payout", "gateway")) == "CALLER_NOT_ALLOWED"
        assert await outcome(server, authority.issue("anonymous")) == "CALLER_NOT_ALLOWED"
        assert await outcome(server, authority.issue(common_name="gateway")) == "CALLER_NOT_ALLOWED"


async def test_certificates_are_renewed_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides change over to another authority while a channel between them stays open."""
    monkeypatch.setattr(sys.modules["libs.rpc.channel"], "RENEWAL_SECONDS", 0.0)
    sides = {name: tmp_path / name for name in ("sample", "gateway")}
    for directory in sides.values():
        directory.mkdir()

    def renew(authority: Authority) -> dict[str, Tls]:
        found = {}
        for name, directory in sides.items():
            environment = written(authority.issue(name), directory)
            read = Tls.read(Deployment.read(environment))
            assert read is not None
            found[name] = read
        return found

    first = renew(Authority())
    settings: dict[str, Any] = {"test_mode": False, "tls": first["sample"], "callers": CALLERS}
    async with (
        served(whoever, **settings) as server,
        stub(server, "gateway", tls=first["gateway"], service="sample", wait_seconds=10) as log,
    ):
        assert len((await log.ListHeads(Request())).heads) == 1
        second = renew(Authority())
        assert len((await log.ListHeads(Request())).heads) == 1
        assert await outcome(server, replace(first["gateway"], files=())) == "UNAVAILABLE"
        assert await outcome(server, second["gateway"]) == "OK"
        assert await outcome(server, Authority().issue("gateway")) == "UNAVAILABLE"
        (sides["sample"] / "TLS_KEY_FILE").unlink()  # half a renewal: the former ones go on
        assert await outcome(server, second["gateway"]) == "OK"


async def test_what_a_caller_says_counts_for_nothing_with_tls(authority: Authority) -> None:
    async with served(whoever, test_mode=True, tls=authority.issue("sample"), callers=CALLERS) as server:
        assert await outcome(server, authority.issue("payout"), caller="gateway") == "CALLER_NOT_ALLOWED"
        assert await outcome(server, authority.issue("gateway"), caller="payout") == "OK"


async def test_nobody_gets_in_without_a_certificate_of_the_same_authority(authority: Authority) -> None:
    async with served(whoever, test_mode=False, tls=authority.issue("sample"), callers=CALLERS) as server:
        stranger = Authority().issue("gateway")
        assert await outcome(server, None) == "UNAVAILABLE"
        assert await outcome(server, stranger) == "UNAVAILABLE"
        trusting = Tls(stranger.certificate, stranger.key, authority.issue("x").authority)
        assert await outcome(server, trusting) == "UNAVAILABLE"


async def test_the_other_side_must_be_the_service_that_is_asked(authority: Authority) -> None:
    async with served(whoever, test_mode=False, tls=authority.issue("sample"), callers=CALLERS) as server:
        assert await outcome(server, authority.issue("gateway"), service="payout") == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("caller", "reason"), [("gateway", "OK"), ("payout", "CALLER_NOT_ALLOWED"), ("gateways", "CALLER_NOT_ALLOWED")]
)
async def test_in_test_mode_a_caller_says_who_it_is(caller: str, reason: str) -> None:
    async with served(whoever, callers=CALLERS) as server:
        assert await outcome(server, None, caller=caller) == reason


async def test_in_test_mode_whoever_says_nothing_is_let_through() -> None:
    async with (
        served(whoever, callers=CALLERS) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        answer = await events_pb2_grpc.EventLogServiceStub(channel).ListHeads(Request())
    assert answer.heads[0].position == len(rpc.ANONYMOUS)


def test_a_server_without_tls_is_for_test_mode_only() -> None:
    with pytest.raises(Misconfigured, match="only test mode goes without"):
        rpc.Server("sample")


@pytest.mark.parametrize(
    "callers", [{}, {"ListHeds": frozenset({"gateway"})}, {**CALLERS, "ListHeds": frozenset({"gateway"})}]
)
async def test_a_method_without_a_list_of_callers_is_not_served(callers: dict[str, frozenset[str]]) -> None:
    server = rpc.Server("sample", test_mode=True)
    log: Any = Log
    with pytest.raises(TypeError, match="do not match"):
        server.add(events_pb2_grpc.add_EventLogServiceServicer_to_server, log(whoever), SERVICE, callers)


async def test_two_servers_cannot_share_a_port() -> None:
    async with served(whoever) as server:
        with pytest.raises(Misconfigured, match="another process has the port"):
            async with served(whoever, listen=f"127.0.0.1:{server.port}"):
                pass


def test_files_name_a_process(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("gateway")
    environment = written(issued, tmp_path)
    assert Tls.read(Deployment.read(environment)) == issued
    assert Tls.read(Deployment.read({})) is None
    assert "PRIVATE" not in repr(issued)
    with pytest.raises(Misconfigured, match="TLS_KEY_FILE must be set"):
        Tls.read(Deployment.read({**environment, "TLS_KEY_FILE": ""}))
