"""Random lives of payouts with a hostile provider: nothing is sent twice, and the books say what truly left."""

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.payout.model import Stage
from services.payout.model.payouts import Payout
from tests.support.databases import Databases
from tests.support.handover import MINUTE, Road, road

FAULTS = [
    (call, kind)
    for call, kinds in {
        "create": ("drop_before", "drop_after", "error_before", "error_after", "cut_json", "busy", "expired",
                   "refused", "forbidden", "reject", "fail", "freeze", "hide"),
        "verify": ("drop_before", "drop_after", "error_before", "error_after", "as_json", "busy", "refused", "expired"),
        "look_up": ("drop_before", "error_after", "camel", "lower", "bare_list", "busy", "cut_json"),
        "list": ("drop_before", "error_after", "busy", "cut_json"),
        "auth": ("drop_before", "error_before", "busy"),
    }.items()
    for kind in kinds
]  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.just(("payout",)),
        st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
        st.tuples(st.just("run"), st.integers(1, 4)),
        st.tuples(st.just("pass"), st.sampled_from((10, 60, 900, 4000))),
        st.tuples(st.just("row"), st.sampled_from(("FINISHED", "REJECTED", "FAILED", "SENDING", "WAITING"))),
        st.just(("two",)),
        st.just(("empty",)),
        st.just(("fill",)),
    ),
    min_size=4,
    max_size=25,
)
COUNT_MAX = 5


async def play(way: Road, steps: list[tuple[object, ...]], creators: list[str], chosen: random.Random) -> list[Payout]:
    made: list[Payout] = []
    for step in steps:
        what, *more = step
        if what == "payout":
            made += [await way.burned(each, 20_000_000 + len(made)) for each in creators[len(made) : len(made) + 1]]
        elif what == "fault":
            fault: Any = more[0]
            way.running.fault(*fault, seconds=900 if fault[1] == "hide" else 0)
        elif what == "run":
            await way.run(more[0], MINUTE)  # type: ignore[arg-type]
        elif what == "two":
            await together(way)
        elif what == "pass":
            way.clock.advance(MINUTE * more[0] / 60)  # type: ignore[operator]
        elif what == "row":
            move(way, str(more[0]), chosen)
        else:
            way.running.provider.merchant.coin("usdttrc20").amount = Decimal({"empty": 1, "fill": 10**6}[str(what)])
        await way.check()
    return made


async def together(way: Road) -> None:
    """Two replicas at once, each of which believes that it leads."""
    await asyncio.gather(way.engine.run(), way.engine.run())


def move(way: Road, state: str, chosen: random.Random) -> None:
    """The provider does what it likes with a verified row; what it has sent stays sent."""
    rows = [row for row in way.running.rows if row.requested_at and not row.sent and row.status != "REJECTED"]
    if rows:
        way.running.provider.book.move(chosen.choice(rows), state)


async def finish(way: Road, made: list[Payout]) -> None:
    """The provider comes to its senses; everything ends."""
    way.running.provider.faults.waiting.clear()
    way.running.provider.merchant.coin("usdttrc20").amount = Decimal(10**6)
    for row in way.running.rows:
        row.frozen, row.ending = False, "FINISHED"
        if row.status == "FAILED":
            way.running.provider.book.move(row, "FINISHED")
    for payout in made:
        await way.end(payout)


async def live(databases: Databases, steps: list[tuple[object, ...]], seed: int) -> None:
    """One random life, from the first payout to a provider that comes to its senses."""
    names = [await databases.create("payout"), await databases.create("distribution")]
    dsn: Callable[[str], str] = databases.dsn_of
    try:
        async with road(dsn(names[0]), dsn(names[1]), seed=seed) as way:
            creators = await way.creators(COUNT_MAX, 30_000_000)
            made = await play(way, steps, creators, random.Random(seed))
            await finish(way, made)
            await way.check_settled()
            ended = [await way.payout(each) for each in made]
            assert {each.stage for each in ended} <= {Stage.COMPLETED, Stage.FAILED}
            assert sum(each.net_micro for each in ended if each.stage is Stage.COMPLETED) == way.sent_micro
    finally:
        for name in names:
            await databases.drop(name)


@given(steps=STEPS, seed=st.integers(0, 2**16))
@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
async def test_what_was_sent_is_what_was_burned_and_not_given_back(
    databases: Databases, steps: list[tuple[object, ...]], seed: int
) -> None:
    await live(databases, steps, seed)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@given(steps=STEPS, seed=st.integers(0, 2**16))
@settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
async def test_the_same_at_length(databases: Databases, steps: list[tuple[object, ...]], seed: int) -> None:
    await live(databases, steps, seed)
