"""Any delivery that a broker could make of a publisher's events leads to the same rows."""

import asyncio
import contextlib
from dataclasses import dataclass

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs import outbox
from libs.inbox import Inbox, LogUnanswered
from tests.support.events import TOPIC, Pair

PARTITION = 0
KEYS = [key for key in map(str, range(400)) if outbox.partition_of(key, TOPIC.partitions) == PARTITION]


@dataclass
class Append:
    count: int


@dataclass
class Deliver:
    """Some of what was published, in some order, some of it twice, to a member that may be new or fail on the way."""

    places: list[int]
    restarted: bool
    fault: bool
    log_down: bool


@dataclass
class Race:
    """Two members are given everything at once."""


STEPS = st.lists(
    st.one_of(
        st.builds(Append, st.integers(1, 12)),
        st.builds(Deliver, st.lists(st.integers(0, 60), max_size=30), st.booleans(), st.booleans(), st.booleans()),
        st.builds(Race),
    ),
    max_size=12,
)


async def deliver(mesh: Pair, inbox: Inbox, step: Deliver) -> None:
    events = await mesh.events(PARTITION)
    some = [events[place] for place in step.places if place < len(events)]
    mesh.faults = [asyncpg.DeadlockDetectedError()] if step.fault else []
    mesh.log.down = step.log_down
    with contextlib.suppress(asyncpg.DeadlockDetectedError, LogUnanswered):
        await inbox.receive(mesh.subscription, PARTITION, some)
    mesh.faults, mesh.log.down = [], False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
async def test_every_event_is_applied_once_and_in_order(mesh: Pair, steps: list[Append | Deliver | Race]) -> None:
    await mesh.empty()
    inbox = Inbox(mesh.listener, "leaderboard")
    made = 0
    for step in steps:
        match step:
            case Append(count):
                await mesh.append(KEYS[number % 50] for number in range(made, made + count))
                await mesh.number()
                made += count
            case Deliver():
                inbox = Inbox(mesh.listener, "leaderboard") if step.restarted else inbox
                await deliver(mesh, inbox, step)
            case Race():
                members = (inbox, Inbox(mesh.listener, "leaderboard"))
                events = await mesh.events(PARTITION)
                await asyncio.gather(*(each.receive(mesh.subscription, PARTITION, events) for each in members))
        applied = (await mesh.applied()).get(PARTITION, [])
        assert applied == list(range(1, len(applied) + 1))
    await inbox.receive(mesh.subscription, PARTITION, (await mesh.events(PARTITION))[-1:])
    await mesh.assert_once_and_in_order(made)
