"""What happens to a system like this: each row of the design's list, as something that is done to a running one."""

import asyncio
import fcntl
import random
import signal
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from deploy.local import servers
from deploy.local.ports import SERVICES
from tests.chaos.world import World
from tests.support.eventually import eventually

PROCESSES: Final = (*SERVICES, "gateway")
_MICROSECOND: Final = timedelta(microseconds=1)
PROVIDER_SILENT_S: Final = 4.0


@dataclass(frozen=True)
class Fault:
    """The recovery from what `strike` does is timed from its beginning; from its end where it `lasts`."""

    row: str
    what: str
    strike: Callable[[World], Awaitable[None]]
    lasts: bool = False


def first() -> Fault:
    """Is there before the first payout is, and then befalls it."""
    return Fault("provider time-outs after acceptance", "payouts sent, no answer", _time_out)


def planned(dice: random.Random, broker: str, *, kills: int) -> list[Fault]:
    """Every row once, with so many kills more, in an order that the dice decide."""
    one_each = [_killed(f"{name}-2" if dice.random() < 0.5 else name) for name in PROCESSES]
    both = dice.choice(SERVICES)
    paused = dice.choice(("leaderboard", "leaderboard-2"))
    faults = [
        *one_each,
        Fault("kill -9 of any process", f"both replicas of {both}", partial(_kill_both, both)),
        Fault("kill -9 of any process", "the caller", _kill_caller),
        Fault("Postgres restarted", "kill -9", partial(_signal, "postgres", signal.SIGKILL)),
        Fault("Postgres restarted", "stopped and started", partial(_signal, "postgres", signal.SIGINT)),
        _broker_killed(broker),
        Fault("broker's data lost", "every topic deleted", _delete_topics),
        Fault("Redis flushed", "flushed", _flush),
        Fault("Redis flushed", "kill -9", partial(_signal, "redis", signal.SIGKILL)),
        Fault("webhooks", "doubled, late, in disorder, forged, lost", _mishandle_callbacks, lasts=True),
        Fault("slow consumer", f"{paused} stopped for 5 s", partial(_pause, paused, 5.0), lasts=True),
        Fault("a process hangs", "distribution stopped for 3 s", partial(_pause, "distribution", 3.0), lasts=True),
        Fault("clock steps", "10 minutes on, 30 s back", _step_clock, lasts=True),
        *(_killed(dice.choice(PROCESSES) + dice.choice(("", "-2"))) for _ in range(kills)),
    ]
    dice.shuffle(faults)
    return faults


def _killed(name: str) -> Fault:
    return Fault("kill -9 of any process", name, partial(_signal, name, signal.SIGKILL))


def _broker_killed(broker: str) -> Fault:
    """Apache Kafka keeps what it has; the broker of the wheel comes back empty."""
    row = "broker restarted" if broker == "kafka" else "broker's data lost"
    return Fault(row, "kill -9", partial(_signal, "kafka", signal.SIGKILL))


async def _signal(name: str, number: signal.Signals, world: World) -> None:
    before = world.stack.pid(name)
    world.signal(name, number)
    # Until it is another process, its probes may still be the old one's.
    await eventually(lambda: world.stack.pid(name) != before, within=30)


async def _kill_both(service: str, world: World) -> None:
    await asyncio.gather(*(_signal(name, signal.SIGKILL, world) for name in world.processes_of(service)))


async def _kill_caller(world: World) -> None:
    world.kill_caller()


async def _delete_topics(world: World) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.stack.line["kafka"])
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if not name.startswith("__")]
        await admin.delete_topics(topics)
    finally:
        await admin.close()


async def _flush(world: World) -> None:
    servers.flush(world.stack.ports.redis)


async def _mishandle_callbacks(world: World) -> None:
    """Payments whose callbacks suffer everything; then all that were ever signed go out again, and what was held."""
    kinds = ["duplicate", "hold", "tamper", "unsorted", "unsigned", "forge", "lose", "hold", "duplicate"]
    world.dice.shuffle(kinds)
    for kind in kinds:
        await world.control("/callbacks", {"kind": kind})
    for _ in range(4):
        await world.pay()
    await world.control("/callbacks/forge", {"body": '{"id":"1","status":"FINISHED"}'})
    await world.control("/callbacks/release", {"order": world.dice.choice(["reverse", "random"])})
    await world.control("/callbacks/again", {"times": 2})


async def _time_out(world: World) -> None:
    for kind in ("drop_after", "hang_after"):
        await world.control("/faults", {"on": "verify", "kind": kind, "seconds": PROVIDER_SILENT_S})


async def _pause(name: str, seconds: float, world: World) -> None:
    world.signal(name, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        world.signal(name, signal.SIGCONT)


async def _step_clock(world: World) -> None:
    """Back only when something was done in the later time: what is done next then comes before it."""
    before = await world.newest_job()
    step_clock(world.stack.directory / "clock", timedelta(minutes=10))

    async def is_lived_in() -> bool:
        return await world.newest_job() > before + timedelta(minutes=5)

    await eventually(is_lived_in, within=30)
    step_clock(world.stack.directory / "clock", timedelta(seconds=-30))


def step_clock(file: Path, by: timedelta) -> None:
    """As a machine's clock may: also back, which `MovableClock.advance` would not."""
    with file.open("r+b") as clock:
        fcntl.flock(clock, fcntl.LOCK_EX)
        [offset_us] = struct.unpack("<q", clock.read(8))
        clock.seek(0)
        clock.write(struct.pack("<q", offset_us + by // _MICROSECOND))
