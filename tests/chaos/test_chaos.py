"""Everything that may fail does while the demo economy goes on (`make chaos`); then its money is counted to the last
micro-dollar, by the tests of the demo themselves.

SEED decides what happens in which order and to whom; when exactly it meets what is up to the machine.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from _pytest.fixtures import FixtureFunctionDefinition
from rich.console import Console
from rich.table import Table

from deploy.local import audit, brokers
from deploy.local.ports import SERVICES
from tests.chaos import faults
from tests.chaos.world import REPLICAS, World, balanced
from tests.e2e import test_demo_economy as demo
from tests.e2e.test_demo_economy import Played
from tests.support.brokers import require
from tests.support.eventually import eventually
from tests.support.stacks import Stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2400)]

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
SHORT = bool(os.environ.get("SHORT"))
ROUNDS, KILLS, PAUSE_MAX_S = (1, 0, 0.5) if SHORT else (4, 12, 3.0)
ROWS = {
    "kill -9 of any process",
    "Postgres restarted",
    "broker's data lost",
    "Redis flushed",
    "webhooks",
    "provider time-outs after acceptance",
    "slow consumer",
    "a process hangs",
    "clock steps",
}

# The last run of `first_run` is one more already.
LEFT_OUT = {"test_run_again_it_pays_nothing_twice"} if SHORT else set()

# The demo's own tests, with its own arithmetic, are what must hold here too; `stack` and `first_run` below are ours.
globals().update({
    name: each
    for name, each in vars(demo).items()
    if (name.startswith("test_") and name not in LEFT_OUT) or isinstance(each, FixtureFunctionDefinition)
})  # fmt: skip


@pytest.fixture(scope="module")
def stack(scratch: Path) -> Iterator[Stack]:
    """Two replicas of every service."""
    require()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOWPAYMENTS_TIMEOUT_SECONDS", f"{faults.PROVIDER_SILENT_S / 2}")
        running = Stack(scratch / "chaos", REPLICAS)
    yield running
    running.clean()


@pytest.fixture(scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        ports = stack.ports
        gateway = await opened.enter_async_context(balanced((ports.gateway, ports.second_gateway)))
        stack.line = stack.line | {"gateway": gateway}
        timeout = aiohttp.ClientTimeout(total=10)
        http = await opened.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        yield World(stack, random.Random(SEED), tmp_path_factory.mktemp("demo") / "demo.json", http)


@pytest.fixture(scope="module")
async def first_run(world: World, request: pytest.FixtureRequest) -> Played:
    """The demo, run after run while everything fails, and a last time when nothing does any more."""
    began = time.monotonic()
    playing = asyncio.create_task(world.play())
    try:
        await strike(world, faults.first())
        for _ in range(ROUNDS):
            for fault in faults.planned(world.dice, brokers.chosen(), kills=KILLS):
                await asyncio.sleep(world.dice.uniform(0, PAUSE_MAX_S))
                await strike(world, fault)
        world.calm()
        await world.control("/callbacks/again", {})
        played = await playing
    finally:
        playing.cancel()
        world.kill_caller()
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            show(world, time.monotonic() - began)
    return played


async def strike(world: World, fault: faults.Fault) -> None:
    began = time.monotonic()
    await fault.strike(world)
    await world.recover(fault.row, fault.what, time.monotonic() if fault.lasts else began)


def show(world: World, took_s: float) -> None:
    """Prints how long each recovery took, and how to have the same again."""
    table = Table(title=f"Chaos on {brokers.chosen()}, two replicas of everything: SEED={SEED}, {took_s:.0f} s")
    table.add_column("what must hold when", no_wrap=True)
    table.add_column("what was done")
    table.add_column("all answer after", justify="right")
    table.add_column("no listener behind after", justify="right")
    for each in sorted(world.recoveries, key=lambda each: (each.row, each.what)):
        table.add_row(each.row, each.what, f"{each.answers_s:.1f} s", f"{each.caught_up_s:.1f} s")
    console = Console(width=120)
    console.print()
    console.print(table)
    console.print(f"The demo was run {len(world.runs)} times meanwhile, and ended so:")
    for ended, times in Counter(world.runs).items():
        console.print(f"  {times} x {ended}", markup=False)


def test_every_row_of_the_list_was_done_and_recovered_from(first_run: Played, world: World) -> None:
    durable = {"broker restarted"} if brokers.chosen() == "kafka" else set[str]()
    assert {each.row for each in world.recoveries} == ROWS | durable


async def test_the_provider_fell_silent_after_it_had_sent(first_run: Played, world: World) -> None:
    async with world.http.get(world.stack.line["provider"].removesuffix("/v1") + "/control/state") as answer:
        assert (await answer.json())["faults"] == 0


async def test_every_invariant_of_the_ledger_holds(first_run: Played, world: World) -> None:
    report, violations = await audit.ask(world.stack.line["distribution"])
    assert violations == []
    assert all(each.holds for each in report.results)


async def test_no_event_was_put_aside(first_run: Played, world: World) -> None:
    async with world.books() as books:
        letters = {name: await books.fetchval(f"SELECT count(*) FROM {name}.dead_letters") for name in SERVICES}  # noqa: S608
    assert letters == dict.fromkeys(SERVICES, 0)


async def test_every_payment_is_booked_once_whatever_befell_its_callbacks(first_run: Played, world: World) -> None:
    async def booked() -> bool:
        async with world.books() as books:
            rows = await books.fetch(
                "SELECT payment_id, paid_micro FROM distribution.payments WHERE order_id LIKE 'order-in-chaos-%'"
            )
        return sorted(map(tuple, rows)) == sorted((payment_id, 12_500_000) for payment_id in world.payments)

    assert world.payments
    await eventually(booked, within=60)
