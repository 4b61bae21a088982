"""A payout's way, its database lost at any statement, before or after it: it goes on, and is sent once."""

from contextlib import suppress

import pytest

from libs.refusals import Refusal
from services.payout.model import Stage
from tests.conftest import Database
from tests.support.cuts import LOST, cut
from tests.support.handover import Road, road

STATEMENTS_MAX = 120


async def walk(way: Road, *, after: bool, stride: int) -> int:
    """One payout for every place where it can be cut; how many places there were."""
    at = 1
    while at < STATEMENTS_MAX:
        payout = await way.burned(await way.creator(), 20_000_000)
        with cut(at, after=after) as cutting, suppress(*LOST, Refusal):
            await way.engine.run()
        ended = await way.end(payout)
        assert ended.stage is Stage.COMPLETED, (at, after)
        await way.check_settled()
        if not cutting.happened:
            return at
        at += stride
    raise AssertionError("it never got through")


@pytest.mark.parametrize("after", [False, True])
async def test_handing_over_cut_off_anywhere(database: Database, *, after: bool) -> None:
    async with road(await database("payout"), await database("distribution")) as way:
        assert await walk(way, after=after, stride=3) > 20


@pytest.mark.nightly
@pytest.mark.parametrize("after", [False, True])
async def test_handing_over_cut_off_at_every_statement(database: Database, *, after: bool) -> None:
    async with road(await database("payout"), await database("distribution")) as way:
        assert await walk(way, after=after, stride=1) > 20
