"""What a creator forfeited while it was held for a payout: it comes back to nobody, whichever way it comes back."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from protos.distribution.v1 import treasury_pb2 as pb
from services.distribution.commands import audit
from services.distribution.model.holds import HoldState
from tests.conftest import Database
from tests.support.campaigns import refused
from tests.support.cuts import LOST, cut
from tests.support.treasury import Treasury, opened, outcome, served, together

X = 1_000_000


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as treasury:
        yield treasury
        await treasury.check()
        await assert_audited(treasury)


async def assert_audited(books: Treasury) -> None:
    connection = await books.postgres.dedicated()
    try:
        # These books are of charges that nobody sent: only what holds of their money is looked at.
        _, results = await audit.examine(connection)
        assert [each.first[0] for each in results if each.violations and each.pauses] == []
    finally:
        await connection.close()


@pytest.mark.parametrize("way", [HoldState.RETURNED, HoldState.FAILED])
async def test_money_that_was_held_when_its_creator_forfeited_goes_on_to_forfeited(
    books: Treasury, way: HoldState
) -> None:
    ann = await books.creator(5 * X)
    hold, _ = await books.hold(ann, 2 * X)
    if way is HoldState.FAILED:
        await books.burn(hold)
    await books.forfeit(ann)
    assert await books.balance("platform:forfeited") == 3 * X
    first = await books.move(hold, way)
    assert await books.move(hold, way) == (first.hold, True)
    assert first.hold.state is way
    told = await books.earnings(ann)
    assert (told.withdrawable_micro, told.held_micro, told.paid_out_micro, told.reversed_micro) == (0, 0, 0, 5 * X)
    assert await books.balance("platform:forfeited") == 5 * X
    # The platform's own cash again, all of it.
    assert await books.balance("treasury:payout_reserve") == await books.balance("treasury:operating") == 0
    assert await outcome(books.hold(ann, 1)) == "INSUFFICIENT_WITHDRAWABLE"
    assert await outcome(books.hold(ann, 1, hold.payout_id, 2)) == "INSUFFICIENT_WITHDRAWABLE"
    assert [change for change, _ in await books.changes(ann)][-2:] == [
        "RETURNED" if way is HoldState.RETURNED else "PAYOUT_FAILED", "FORFEITED",
    ]  # fmt: skip


async def test_a_forfeiture_that_finds_nothing_but_held_money_counts(books: Treasury) -> None:
    ann = await books.creator(2 * X)
    hold, _ = await books.hold(ann, 2 * X)
    assert (await books.forfeit(ann)).transfer_id == ""
    await books.move(hold, HoldState.RETURNED)
    assert (await books.earnings(ann)).reversed_micro == 2 * X


async def test_what_was_sent_before_is_gone_and_what_is_earned_afterwards_is_the_creators(books: Treasury) -> None:
    ann = await books.creator(2 * X)
    hold, _ = await books.hold(ann, 2 * X)
    await books.burn(hold)
    await books.forfeit(ann)
    await books.move(hold, HoldState.COMPLETED, 2 * X, 0)
    assert (await books.earnings(ann)).paid_out_micro == 2 * X
    await books.earn(ann, X)
    books.clock.advance(books.clock.now() - books.clock.now().replace(year=2025))
    await books.settle()
    later, _ = await books.hold(ann, X)
    await books.move(later, HoldState.RETURNED)
    assert (await books.earnings(ann)).withdrawable_micro == X


@pytest.mark.parametrize("seed", range(4))
async def test_forfeiture_racing_with_holds_and_what_comes_back_leaves_nothing_withdrawable(
    books: Treasury, seed: int
) -> None:
    rng = random.Random(seed)
    ann = await books.creator(32 * X)
    held = [(await books.hold(ann, X)).hold for _ in range(16)]
    for hold in held[8:]:
        await books.burn(hold)
    # A hold that wins against the forfeiture is out when it comes, and comes back afterwards.
    late = [str(uuid.uuid4()) for _ in range(8)]
    steps = [
        *(books.move(hold, HoldState.RETURNED) for hold in held[:8] for _ in range(2)),
        *(books.move(hold, HoldState.FAILED) for hold in held[8:] for _ in range(2)),
        *(books.hold(ann, X, payout_id) for payout_id in late),
        books.forfeit(ann),
    ]
    rng.shuffle(steps)
    said = await together(*steps)
    assert set(said) <= {"DONE", "REPLAYED", "INSUFFICIENT_WITHDRAWABLE"}
    for payout_id in late:
        if await books.value("SELECT count(*) FROM payout_holds WHERE payout_id = $1", payout_id):
            hold, _ = await books.hold(ann, X, payout_id)
            await books.move(hold, HoldState.RETURNED)
    told = await books.earnings(ann)
    assert (told.withdrawable_micro, told.held_micro, told.reversed_micro) == (0, 0, 32 * X)
    assert await books.balance("treasury:payout_reserve") == 0


async def test_returning_forfeited_money_cut_off_anywhere_moves_it_once(books: Treasury) -> None:
    for after in (False, True):
        for at in range(1, 60):
            ann = await books.creator(3 * X)
            hold, _ = await books.hold(ann, X)
            await books.burn(hold)
            await books.forfeit(ann)
            with cut(at, after=after) as cutting, suppress(*LOST):
                await books.move(hold, HoldState.FAILED)
            assert await outcome(books.move(hold, HoldState.FAILED)) in {"DONE", "REPLAYED"}
            assert (await books.earnings(ann)).reversed_micro == 3 * X
            if not cutting.happened:
                break
        else:
            raise AssertionError("the command never got through")
    assert await books.balance("treasury:payout_reserve") == await books.balance("provider:in_flight") == 0


async def test_a_forfeiture_said_again_takes_nothing_more(books: Treasury) -> None:
    ann = await books.creator(2 * X)
    request = pb.ForfeitEarningsRequest(request_id="once", account_ref=ann, reason="FRAUD", operator_id="olga")
    async with served(books) as doors:
        answers = await asyncio.gather(*(doors.treasury.ForfeitEarnings(request) for _ in range(8)))
        assert {each.settled_micro for each in answers} == {2 * X}
        await books.earn(ann, X)
        assert (await doors.treasury.ForfeitEarnings(request)).settled_micro == 2 * X
    assert (await books.earnings(ann)).pending_micro == X
    assert await books.value("SELECT count(*) FROM forfeitures") == 1


@pytest.mark.parametrize(
    ("field", "changed"),
    [("operator_id", {"operator_id": ""}), ("reason", {"reason": "why not"}), ("reason", {"reason": ""}),
     ("account_ref", {"account_ref": "ann"}), ("request_id", {"request_id": ""})],
)  # fmt: skip
async def test_a_forfeiture_without_who_and_why_is_refused(
    books: Treasury, field: str, changed: dict[str, str]
) -> None:
    ann = await books.creator(X)
    plain: dict[str, Any] = {"request_id": "f", "account_ref": ann, "reason": "FRAUD_CONFIRMED", "operator_id": "olga"}
    async with served(books) as doors:
        reason, data = await refused(doors.treasury.ForfeitEarnings(pb.ForfeitEarningsRequest(**(plain | changed))))
    assert (reason != "", data["field"]) == (True, field)
    assert (await books.earnings(ann)).withdrawable_micro == X
