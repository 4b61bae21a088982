"""Pages that are remembered for a moment."""

import asyncio

import pytest

from services.leaderboard.board import Shown
from services.leaderboard.board import shown as module
from tests.support.eventually import eventually


class Maker:
    def __init__(self) -> None:
        self.made = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self) -> int:
        await self.may_go_on.wait()
        self.made += 1
        return self.made


async def test_a_page_is_made_once_for_all_who_ask_and_again_when_somebody_shows_another_name() -> None:
    make, shown = Maker(), Shown[int](60)
    make.may_go_on.clear()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(shown.page("top", make)) for _ in range(9)]
        await asyncio.sleep(0)
        make.may_go_on.set()
    assert {each.result() for each in asked} == {1}
    assert await shown.page("top", make) == 1
    assert await shown.page("next", make) == 2
    shown.forget()
    assert await shown.page("top", make) == 3


async def test_who_gives_up_or_fails_while_making_a_page_leaves_it_to_the_next() -> None:
    make, shown = Maker(), Shown[int](60)
    make.may_go_on.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await shown.page("top", make)

    async def fails() -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await shown.page("top", fails)
    make.may_go_on.set()
    assert await shown.page("top", make) == 1


async def test_pages_go_by_themselves_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGES_MAX", 3)
    make, shown = Maker(), Shown[int](0.05)
    for number in range(9):
        await shown.page(number, make)
        assert len(shown._pages) <= 3
    await eventually(lambda: not shown._pages)
    never = Shown[int](0)
    assert [await never.page("top", make) for _ in range(2)] == [10, 11]
    assert not never._pages
