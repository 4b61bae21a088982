"""One trace from the caller through every process that its work goes through; the collector is this test."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.demo.economy import Creator
from deploy.local.demo.front_door import FrontDoor
from deploy.local.ports import LOOPBACK
from libs import telemetry
from libs.clock import SystemClock
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub
from tests.support import brokers
from tests.support.distribution import charge, request
from tests.support.eventually import eventually
from tests.support.stacks import Stack

Span = tuple[str, str]
"""Which service, and what it did."""


class Collector:
    """Takes spans over OTLP/HTTP, as any collector does."""

    def __init__(self) -> None:
        self.port = 0
        self.traces: defaultdict[str, dict[str, tuple[Span, str]]] = defaultdict(dict)
        """By trace: span id → the span, and its parent's id."""

    async def take(self, posted: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await posted.read()).resource_spans:
            [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.traces[span.trace_id.hex()][span.span_id.hex()] = (service, span.name), span.parent_span_id.hex()
        return web.Response()

    def way(self, trace: str, end: Span) -> list[Span]:
        """From the root to `end`, following each span's parent; empty until all of them are here."""
        spans = self.traces[trace]
        here = next((each for each, (span, _) in spans.items() if span == end), "")
        found: list[Span] = []
        while here in spans:
            span, here = spans[here]
            found.insert(0, span)
        return found


@pytest.fixture(scope="module")
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture(scope="module")
async def stack(scratch: Path, collector: Collector) -> AsyncIterator[Stack]:
    """A stack whose every process sends its spans to this test, and soon."""
    brokers.require()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:{collector.port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        running = Stack(scratch / "traces")
    yield running
    # Beside the loop: who ends sends its last spans, and waits for the collector's answer.
    await asyncio.to_thread(running.clean)


async def test_a_charge_and_a_registration_are_followed_from_the_caller_to_the_boards(
    collector: Collector, stack: Stack
) -> None:
    ids = {name: secrets.token_hex(16) for name in ("registration", "charge")}
    parents = {name: f"00-{trace}-{secrets.token_hex(8)}-01" for name, trace in ids.items()}
    now = SystemClock().now()
    async with FrontDoor(stack.line["gateway"]) as door, aiohttp.ClientSession() as http:
        code = await door.open_creator(Creator("creator-01", "Ada Lovelace"), now)
        headers = {
            "Authorization": f"Bearer {await door.token('payer-01', now)}",
            "traceparent": parents["registration"],
        }
        url = f"{stack.line['gateway']}/api/referrals/register"
        async with http.post(url, json={"code": code}, headers=headers) as answer:
            assert answer.ok, await answer.text()
    async with grpc.aio.insecure_channel(stack.line["distribution"]) as channel:
        stub = DistributionServiceStub(channel)
        asked = request(charge(payer="payer-01", finalized_at=now))
        await stub.Finalize(asked, metadata=(("traceparent", parents["charge"]),), timeout=10)

    await eventually(lambda: collector.way(ids["registration"], ("leaderboard", "apply referral.registrations.v1")))
    await eventually(lambda: collector.way(ids["charge"], ("leaderboard", "apply distribution.finalized.v1")))
    assert collector.way(ids["registration"], ("leaderboard", "apply referral.registrations.v1")) == [
        ("gateway", "request"),
        ("referral", "creator.referral.v1.ReferralService/Register"),
        ("leaderboard", "apply referral.registrations.v1"),
    ]
    assert collector.way(ids["charge"], ("leaderboard", "apply distribution.finalized.v1")) == [
        ("distribution", "creator.distribution.v1.DistributionService/Finalize"),
        ("distribution", "commit charges"),
        ("leaderboard", "apply distribution.finalized.v1"),
    ]


async def test_a_charge_that_nobody_follows_leaves_no_span(collector: Collector, stack: Stack) -> None:
    async with grpc.aio.insecure_channel(stack.line["distribution"]) as channel:
        stub = DistributionServiceStub(channel)
        for number in range(20):
            await stub.Finalize(request(charge(f"quiet-{number}", payer="payer-02")), timeout=10)
        # One that is followed, and comes later, is here: so would be those.
        trace = secrets.token_hex(16)
        metadata = (("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"),)
        await stub.Finalize(request(charge("followed", payer="payer-02")), metadata=metadata, timeout=10)
    await eventually(lambda: collector.way(trace, ("distribution", "commit charges")))
    names = [span for spans in collector.traces.values() for span, _ in spans.values()]
    assert names.count(("distribution", "creator.distribution.v1.DistributionService/Finalize")) == 2


def test_what_is_done_for_several_belongs_to_the_first_trace_that_is_sampled() -> None:
    unsampled, sampled = (f"00-{'a' * 32}-{'b' * 16}-{flags}" for flags in ("00", "01"))
    assert telemetry.foremost([]) == telemetry.foremost(["", "no trace"]) == ""
    assert telemetry.foremost(["", unsampled]) == unsampled
    assert telemetry.foremost([unsampled, "", sampled]) == sampled
