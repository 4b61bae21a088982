"""A payout's way, its database lost at any statement, before or after it: it goes on, and is sent once."""

from contextlib import suppress
from typing import Any

import pytest

from libs.refusals import Refusal
from services.payout.model import Stage
from tests.conftest import Database
from tests.support.cuts import LOST, cut
from tests.support.handover import MINUTE, Road, road

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


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


@pytest.mark.parametrize("after", [False, True])
async def test_a_process_killed_at_any_call_to_the_provider_is_followed_by_one_that_finds_out(
    database: Database, *, after: bool
) -> None:
    async with road(await database("payout"), await database("distribution")) as way:
        calls = 0
        for at in range(1, 20):
            payout = await way.burned(await way.creator(), 20_000_000)
            original, calls = way.client._send, 0

            async def killed(*asked: Any, at: int = at, original: Any = original) -> Any:
                nonlocal calls
                calls += 1
                if calls == at and not after:
                    raise Killed
                answer = await original(*asked)
                if calls == at:
                    raise Killed
                return answer

            way.client._send = killed  # type: ignore[method-assign, assignment]
            with suppress(Killed):
                await way.run(12, MINUTE)
            way.client._send = original  # type: ignore[method-assign]
            died = calls >= at
            assert (await way.end(payout)).stage is Stage.COMPLETED, at
            assert len(await way.attempts(payout)) == 1, at
            await way.check_settled()
            if not died:
                return
        raise AssertionError("there was no end of calls")


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True])
async def test_handing_over_cut_off_at_every_statement(database: Database, *, after: bool) -> None:
    async with road(await database("payout"), await database("distribution")) as way:
        assert await walk(way, after=after, stride=1) > 20
