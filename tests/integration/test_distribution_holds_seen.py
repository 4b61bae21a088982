"""A hold is decided by what was seen without a lock, and insists on it: whatever changed in between is decided anew."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from libs.refusals import Refusal
from services.distribution.model.holds import Answered
from services.distribution.store import holds as store
from tests.conftest import Database
from tests.integration.test_distribution_holds import X, pause
from tests.support.treasury import HOLD, Treasury, opened, outcome

Act = Callable[[], Awaitable[object]]


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as opened_books:
        yield opened_books
        await opened_books.check()


async def held_after(books: Treasury, act: Act, creator_ref: str, amount_micro: int, payout_id: str = "") -> Answered:
    """Holds, and has something happen between the look and the statement that writes."""
    look, acted = store.look, False

    async def slowly(*given: Any) -> Any:
        nonlocal acted
        seen = await look(*given)
        if not acted:
            acted = True
            await act()
        return seen

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "look", slowly)
        return await books.hold(creator_ref, amount_micro, payout_id)


async def written(books: Treasury) -> int:
    tables = ("transfers", "payout_holds", "payout_hold_states", "outbox")
    return sum([await books.value(f"SELECT count(*) FROM {table}") for table in tables])  # noqa: S608 - constants


async def test_what_is_locked_is_what_was_seen(books: Treasury) -> None:
    ann, stranger = await books.creator(5 * X), str(uuid.uuid4())
    await books.earn(ann, 3 * X)
    books.clock.advance(timedelta(days=3))
    await books.settle()
    await books.hold(ann, 2 * X)
    for creator_ref in (ann, stranger):
        payout_id, now = str(uuid.uuid4()), books.clock.now()
        async with books.postgres.transaction() as connection:
            seen = await store.look(connection, payout_id, creator_ref, now)
            assert await store.lock_withdrawable(connection, payout_id, creator_ref, now) == seen
    assert (await books.earnings(ann)).withdrawable_micro == 3 * X


@pytest.mark.parametrize("reason", ["EARNINGS_FROZEN", "PAYOUTS_PAUSED", "INSUFFICIENT_WITHDRAWABLE"])
async def test_what_keeps_money_back_since_the_look_keeps_it(books: Treasury, reason: str) -> None:
    ann = await books.creator(10 * X)
    acts: dict[str, Act] = {
        "EARNINGS_FROZEN": lambda: books.freeze(ann),
        "PAYOUTS_PAUSED": lambda: pause(books),
        "INSUFFICIENT_WITHDRAWABLE": lambda: books.hold(ann, 5 * X),
    }
    payout_id, before = str(uuid.uuid4()), 0

    async def act() -> None:
        nonlocal before
        await acts[reason]()
        before = await written(books)

    with pytest.raises(Refusal) as caught:
        await held_after(books, act, ann, 6 * X, payout_id)
    assert caught.value.reason == reason
    assert await written(books) == before
    assert not await books.value("SELECT count(*) FROM payout_holds WHERE payout_id = $1", uuid.UUID(payout_id))


async def test_money_that_came_to_rest_and_went_since_the_look_is_counted(books: Treasury) -> None:
    """The same balance, of which less may leave: what still matures is compared, too."""
    ann = await books.creator(10 * X)
    await books.earn(ann, 4 * X)
    books.clock.advance(timedelta(days=3))

    async def act() -> None:
        assert await books.settle() == 1
        await books.hold(ann, 4 * X)

    assert await outcome(held_after(books, act, ann, 7 * X)) == "INSUFFICIENT_WITHDRAWABLE"
    assert (await books.part(ann, "settled"), await books.part(ann, "held")) == (10 * X, 4 * X)


async def test_a_hold_that_somebody_else_made_since_the_look_is_the_same_hold(books: Treasury) -> None:
    ann, payout_id = await books.creator(10 * X), str(uuid.uuid4())
    hold, replayed = await held_after(books, lambda: books.hold(ann, 6 * X, payout_id), ann, 6 * X, payout_id)
    assert replayed
    assert (hold.payout_id, await books.part(ann, "held")) == (payout_id, 6 * X)


async def test_money_that_came_since_the_look_hinders_nothing(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    await books.earn(ann, 1 * X)

    async def act() -> None:
        books.clock.advance(HOLD)
        assert await books.settle() == 1

    assert not (await held_after(books, act, ann, 10 * X)).replayed
    assert (await books.part(ann, "settled"), await books.part(ann, "held")) == (1 * X, 10 * X)


async def test_frozen_and_thawed_again_is_as_it_was(books: Treasury) -> None:
    ann = await books.creator(10 * X)

    async def act() -> None:
        await books.freeze(ann)
        await books.freeze(ann, frozen=False)

    assert not (await held_after(books, act, ann, 10 * X)).replayed


async def test_what_was_forfeited_once_since_the_look_is_kept_with_the_hold(books: Treasury) -> None:
    ann = await books.creator(10 * X)

    async def act() -> None:
        await books.freeze(ann)
        await books.forfeit(ann)
        await books.freeze(ann, frozen=False)
        await books.earn(ann, 10 * X)
        books.clock.advance(HOLD)
        await books.settle()

    hold, _ = await held_after(books, act, ann, 10 * X)
    assert hold.forfeitures == 1
    assert await books.value("SELECT forfeitures FROM payout_holds") == 1


async def test_looks_of_many_at_once_hold_no_more_than_there_is(books: Treasury) -> None:
    """All see the same balance before any of them writes."""
    ann, count = await books.creator(10 * X), 16
    look, looked, all_looked = store.look, 0, asyncio.Event()

    async def together(*given: Any) -> Any:
        nonlocal looked
        seen = await look(*given)
        looked += 1
        if looked == 8:
            all_looked.set()
        await all_looked.wait()
        return seen

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "look", together)
        came = await asyncio.gather(*(outcome(books.hold(ann, 3 * X)) for _ in range(count)))
    assert sorted(came) == ["DONE"] * 3 + ["INSUFFICIENT_WITHDRAWABLE"] * (count - 3)
    assert (await books.part(ann, "settled"), await books.part(ann, "held")) == (1 * X, 9 * X)


async def test_what_changes_again_and_again_is_decided_again_and_held_once(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    insert, refused = store.insert, 0

    async def overtaken(*given: Any) -> bool:
        nonlocal refused
        if refused < 3:
            refused += 1
            return False
        return await insert(*given)

    before = await written(books)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "insert", overtaken)
        assert await outcome(books.hold(ann, 10 * X)) == "DONE"
    assert (refused, await books.part(ann, "held")) == (3, 10 * X)
    assert await written(books) == before + 4
