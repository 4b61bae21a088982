"""The money side of payouts: nothing is held twice, burned twice or given back twice, whatever happens at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from libs.refusals import Refusal
from protos.distribution.v1 import treasury_pb2
from services.distribution.commands import treasury as treasury_commands
from services.distribution.model.campaigns import Order
from services.distribution.model.holds import HoldState
from services.distribution.rules import holds as rules
from tests.conftest import Database
from tests.support.treasury import Treasury, opened, outcome, together

X = 1_000_000


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as opened_books:
        yield opened_books
        await opened_books.check()


async def pause(books: Treasury) -> None:
    request = treasury_pb2.PausePayoutsRequest(request_id=str(uuid.uuid4()), operator_id="ann", reason="looks odd")
    await treasury_commands.pause_payouts(books.postgres, books.clock, request, Order("ann", "looks odd"))


async def test_a_payout_is_held_burned_and_completed(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    hold, replayed = await books.hold(ann, 4 * X)
    assert (hold.state, replayed) == (HoldState.HELD, False)
    assert (await books.part(ann, "settled"), await books.part(ann, "held")) == (6 * X, 4 * X)
    await books.burn(hold)
    assert (await books.balance("platform:paid_out"), await books.balance("provider:in_flight")) == (4 * X, 4 * X)
    assert await books.balance("treasury:payout_reserve") == 6 * X
    done = await books.move(hold, HoldState.COMPLETED, 4 * X - 7, 7)
    assert (done.hold.sent_micro, done.hold.fee_micro) == (4 * X - 7, 7)
    assert (await books.balance("provider:sent"), await books.balance("provider:fees")) == (4 * X - 7, 7)
    earned = await books.earnings(ann)
    assert (earned.withdrawable_micro, earned.held_micro, earned.paid_out_micro) == (6 * X, 0, 4 * X)
    assert earned.accrued_micro == 10 * X
    assert (await books.changes(ann))[1:] == [("HELD", 4 * X), ("PAID_OUT", 4 * X)]


async def test_a_payout_that_failed_gives_everything_back_and_may_be_held_again(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    hold, _ = await books.hold(ann, 5 * X)
    await books.burn(hold)
    await books.move(hold, HoldState.FAILED)
    assert await books.part(ann, "settled") == await books.balance("treasury:payout_reserve") == 5 * X
    assert (await books.earnings(ann)).paid_out_micro == 0
    again, _ = await books.hold(ann, 3 * X, hold.payout_id, 2)
    await books.move(again, HoldState.RETURNED)
    third, _ = await books.hold(ann, 5 * X, hold.payout_id, 3)
    await books.burn(third)
    assert (await books.changes(ann))[1:] == [
        ("HELD", 5 * X), ("PAID_OUT", 5 * X), ("PAYOUT_FAILED", 5 * X),
        ("HELD", 3 * X), ("RETURNED", 3 * X),
        ("HELD", 5 * X), ("PAID_OUT", 5 * X),
    ]  # fmt: skip


async def test_every_step_taken_twice_is_taken_once(books: Treasury) -> None:
    ann = await books.creator(9 * X)
    hold, _ = await books.hold(ann, 3 * X)
    assert await books.hold(ann, 3 * X, hold.payout_id) == (hold, True)
    other, _ = await books.hold(ann, 2 * X)
    failing, _ = await books.hold(ann, X)
    for each, to, sent, fee in (
        (hold, HoldState.BURNED, 0, 0),
        (hold, HoldState.COMPLETED, 3 * X - 1, 1),
        (other, HoldState.RETURNED, 0, 0),
        (failing, HoldState.BURNED, 0, 0),
        (failing, HoldState.FAILED, 0, 0),
    ):
        first = await books.move(each, to, sent, fee)
        before = await books.value("SELECT count(*) FROM transfers")
        assert await books.move(each, to, sent, fee) == (first.hold, True)
        assert await books.value("SELECT count(*) FROM transfers") == before
    # Also where it has gone further since: the first call says how the hold stands.
    replay = await books.hold(ann, 3 * X, hold.payout_id)
    assert (replay.hold.state, replay.replayed) == (HoldState.COMPLETED, True)
    assert await books.value("SELECT count(*) FROM payout_hold_states") == 8


async def test_the_same_steps_at_once_are_one(books: Treasury) -> None:
    ann = await books.creator(9 * X)
    payout_id = str(uuid.uuid4())
    said = await together(*(books.hold(ann, X, payout_id) for _ in range(32)))
    assert sorted(said) == ["DONE"] + ["REPLAYED"] * 31
    hold, _ = await books.hold(ann, X, payout_id)
    assert sorted(await together(*(books.burn(hold) for _ in range(32)))) == ["DONE"] + ["REPLAYED"] * 31
    said = await together(
        *(books.move(hold, HoldState.COMPLETED, X, 0) for _ in range(16)),
        *(books.move(hold, HoldState.FAILED) for _ in range(16)),
    )
    assert sorted(said) == ["DONE"] + ["HOLD_NOT_BURNED"] * 16 + ["REPLAYED"] * 15
    assert await books.part(ann, "held") == 0


async def test_sixty_four_holds_at_once_take_no_more_than_there_is(books: Treasury) -> None:
    """A hold that is not counted in the check of the balance; a hold that is refused and written all the same."""
    ann = await books.creator(10 * X)
    said = await together(*(books.hold(ann, 3 * X) for _ in range(64)))
    assert sorted(said) == ["DONE"] * 3 + ["INSUFFICIENT_WITHDRAWABLE"] * 61
    assert (await books.part(ann, "settled"), await books.part(ann, "held")) == (X, 9 * X)
    assert await books.value("SELECT count(*) FROM payout_holds") == 3


async def test_what_is_maturing_cannot_be_held(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    await books.earn(ann, 7 * X)
    books.clock.advance(timedelta(days=3))
    await books.settle()
    assert await books.part(ann, "settled") == 12 * X
    assert await outcome(books.hold(ann, 5 * X + 1)) == "INSUFFICIENT_WITHDRAWABLE"
    books.clock.advance(timedelta(days=11, microseconds=-1))
    assert await outcome(books.hold(ann, 5 * X + 1)) == "INSUFFICIENT_WITHDRAWABLE"
    books.clock.advance(timedelta(microseconds=1))
    assert await outcome(books.hold(ann, 12 * X)) == "DONE"


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (HoldState.HELD, {"COMPLETED": "HOLD_NOT_BURNED", "FAILED": "HOLD_NOT_BURNED"}),
        (
            HoldState.RETURNED,
            {"BURNED": "HOLD_NOT_HELD", "COMPLETED": "HOLD_NOT_BURNED", "FAILED": "HOLD_NOT_BURNED"},
        ),
        (HoldState.BURNED, {"RETURNED": "HOLD_NOT_HELD"}),
        (HoldState.COMPLETED, {"RETURNED": "HOLD_NOT_HELD", "BURNED": "HOLD_NOT_HELD", "FAILED": "HOLD_NOT_BURNED"}),
        (HoldState.FAILED, {"RETURNED": "HOLD_NOT_HELD", "BURNED": "HOLD_NOT_HELD", "COMPLETED": "HOLD_NOT_BURNED"}),
    ],
)
async def test_no_state_goes_where_it_may_not(books: Treasury, state: HoldState, refused: dict[str, str]) -> None:
    hold, _ = await books.hold(await books.creator(X), X)
    if state in {HoldState.BURNED, HoldState.COMPLETED, HoldState.FAILED}:
        await books.burn(hold)
    if state is not HoldState.HELD:
        await books.move(hold, state, *((X, 0) if state is HoldState.COMPLETED else ()))
    before = await books.value("SELECT count(*) FROM transfers")
    for name, reason in refused.items():
        sent = (X, 0) if name == "COMPLETED" else ()
        assert await outcome(books.move(hold, HoldState[name], *sent)) == reason
    assert await books.value("SELECT count(*) FROM transfers") == before
    for to in {1, 2, 3, 4, 5} - {state} - ({2, 3} if state == 1 else {4, 5} if state == 3 else set()):
        with pytest.raises(asyncpg.CheckViolationError):
            await books.execute("UPDATE payout_holds SET state = $1", to)


async def test_what_was_done_is_not_done_again_with_other_content(books: Treasury) -> None:
    ann, bob = await books.creator(9 * X), await books.creator(9 * X)
    hold, _ = await books.hold(ann, X)
    assert await outcome(books.hold(ann, X + 1, hold.payout_id)) == "HOLD_MISMATCH"
    assert await outcome(books.hold(bob, X, hold.payout_id)) == "HOLD_MISMATCH"
    assert await outcome(books.hold(ann, X, hold.payout_id, 2)) == "ROUND_OUT_OF_ORDER"
    await books.burn(hold)
    assert await outcome(books.hold(ann, X, hold.payout_id, 2)) == "ROUND_OUT_OF_ORDER"
    assert await outcome(books.move(hold, HoldState.COMPLETED, X, 1)) == "SENT_UNBALANCED"
    await books.move(hold, HoldState.FAILED)
    assert await outcome(books.hold(bob, X, hold.payout_id, 2)) == "HOLD_MISMATCH"
    assert await outcome(books.hold(ann, X, hold.payout_id, 3)) == "ROUND_OUT_OF_ORDER"
    second, _ = await books.hold(ann, X, hold.payout_id, 2)
    await books.burn(second)
    await books.move(second, HoldState.COMPLETED, X, 0)
    assert await outcome(books.move(second, HoldState.COMPLETED, X - 1, 1)) == "HOLD_MISMATCH"
    assert await outcome(books.hold(ann, X, hold.payout_id, 3)) == "ROUND_OUT_OF_ORDER"
    assert await outcome(books.hold(ann, X, str(uuid.uuid4()), 2)) == "ROUND_OUT_OF_ORDER"
    with pytest.raises(rules.HoldUnknown):
        rules.find([], 1)


async def test_a_freeze_between_hold_and_burn_stops_the_burn_and_lets_the_hold_be_returned(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    hold, _ = await books.hold(ann, 2 * X)
    await books.freeze(ann)
    assert await outcome(books.burn(hold)) == "EARNINGS_FROZEN"
    assert await outcome(books.hold(ann, X)) == "EARNINGS_FROZEN"
    assert (await books.earnings(ann)).withdrawable_micro == 0
    await books.move(hold, HoldState.RETURNED)
    assert (await books.earnings(ann)).frozen_micro == 5 * X
    await books.freeze(ann, frozen=False)
    assert await outcome(books.hold(ann, 5 * X)) == "DONE"


async def test_what_is_in_flight_goes_on_through_freeze_and_pause(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    sent, _ = await books.hold(ann, 2 * X)
    failed, _ = await books.hold(ann, 2 * X)
    await books.burn(sent)
    await books.burn(failed)
    await books.freeze(ann)
    await pause(books)
    await books.move(sent, HoldState.COMPLETED, 2 * X, 0)
    await books.move(failed, HoldState.FAILED)
    earned = await books.earnings(ann)
    assert (earned.frozen_micro, earned.paid_out_micro) == (3 * X, 2 * X)


async def test_nothing_is_held_or_burned_while_payouts_are_paused_or_switched_off(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    hold, _ = await books.hold(ann, 2 * X)
    books.enabled = False
    assert await outcome(books.burn(hold)) == "PAYOUTS_DISABLED"
    assert await outcome(books.hold(ann, X)) == "PAYOUTS_DISABLED"
    books.enabled = True
    await pause(books)
    assert await outcome(books.burn(hold)) == "PAYOUTS_PAUSED"
    assert await outcome(books.hold(ann, X)) == "PAYOUTS_PAUSED"
    # What was answered before is answered again.
    assert await outcome(books.hold(ann, 2 * X, hold.payout_id)) == "REPLAYED"
    assert await outcome(books.move(hold, HoldState.RETURNED)) == "DONE"


async def test_holds_race_with_settling_freezing_and_forfeiting(books: Treasury) -> None:
    refs = [await books.creator(10 * X) for _ in range(3)]
    for ref in refs:
        await books.earn(ref, 4 * X)
    books.clock.advance(timedelta(days=20))
    said = await together(
        *(books.hold(ref, 3 * X) for ref in refs for _ in range(8)),
        books.settle(),
        books.freeze(refs[1]),
        books.forfeit(refs[2]),
        books.settle(),
        *(books.hold(ref, 3 * X) for ref in refs for _ in range(8)),
    )
    assert set(said) <= {"DONE", "INSUFFICIENT_WITHDRAWABLE", "EARNINGS_FROZEN"}
    for ref in refs:
        earned = await books.earnings(ref)
        assert earned.accrued_micro == 14 * X
        assert earned.held_micro % (3 * X) == 0
    assert (await books.earnings(refs[0])).held_micro >= 9 * X


async def test_burns_race_with_charges_settling_and_each_other(books: Treasury) -> None:
    refs = [await books.creator(8 * X) for _ in range(8)]
    held = [(await books.hold(ref, X)).hold for ref in refs for _ in range(8)]
    books.clock.advance(timedelta(days=3))
    said = await together(
        *(books.burn(hold) for hold in held[:32]),
        *(books.earn(ref, 11) for ref in refs for _ in range(4)),
        books.settle(),
        *(books.burn(hold) for hold in held[32:]),
    )
    assert said == ["DONE"] * len(said)
    assert await books.balance("provider:in_flight") == 64 * X
    assert await books.balance("treasury:payout_reserve") == 8 * 4 * 11


async def test_no_payout_is_burned_over_a_reserve_that_does_not_cover(books: Treasury) -> None:
    refs = [await books.creator(16 * X) for _ in range(4)]
    held = [(await books.hold(ref, X)).hold for ref in refs for _ in range(16)]
    # Somebody helps himself in the database: a balance is no journal, and the difference is found before money leaves.
    short = "UPDATE accounts SET balance_micro = balance_micro + $1 WHERE name = $2"
    await books.execute(short, -32 * X, "treasury:payout_reserve")
    said = await together(*(books.burn(hold) for hold in held))
    assert said == ["RESERVE_WOULD_NOT_COVER"] * 64
    assert await books.balance("provider:in_flight") == 0
    await books.execute(short, 32 * X, "treasury:payout_reserve")
    assert await together(*(books.burn(hold) for hold in held)) == ["DONE"] * 64
    assert await books.balance("treasury:payout_reserve") == 0


async def test_a_step_cut_off_at_any_moment_is_whole_or_not_at_all(books: Treasury) -> None:
    ann = await books.creator(100 * X)
    hold, _ = await books.hold(ann, X)
    for number in range(1, 60):
        task = asyncio.ensure_future(books.burn(hold))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        said = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(said[0], asyncio.CancelledError | tuple)
        await books.check()
        burned = await books.part(ann, "held") == 0
        assert await books.balance("provider:in_flight") == (X if burned else 0)
        assert (await books.value("SELECT state FROM payout_holds")) == (3 if burned else 1)
        if burned:
            break
    assert await outcome(books.burn(hold)) in {"DONE", "REPLAYED"}
    assert await books.value("SELECT count(*) FROM transfers WHERE kind = 7") == 1


async def test_a_burn_whose_backend_dies_is_done_once(books: Treasury) -> None:
    ann = await books.creator(100 * X)
    held = [(await books.hold(ann, X)).hold for _ in range(8)]

    async def kill() -> None:
        async with books.postgres.connection() as connection:
            await connection.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'distribution'
                """
            )

    for hold in held:
        said = await asyncio.gather(books.burn(hold), kill(), return_exceptions=True)
        assert not isinstance(said[0], Refusal)
        await books.check()
        assert await outcome(books.burn(hold)) in {"DONE", "REPLAYED"}
    assert await books.balance("provider:in_flight") == 8 * X


async def test_history_of_holds_cannot_be_rewritten(books: Treasury) -> None:
    await books.hold(await books.creator(X), X)
    for statement in (
        "DELETE FROM payout_holds", "TRUNCATE payout_holds CASCADE", "UPDATE payout_hold_states SET reason = 'X'",
        "DELETE FROM payout_hold_states",
    ):  # fmt: skip
        with pytest.raises(asyncpg.RestrictViolationError):
            await books.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError):
        await books.execute("UPDATE payout_holds SET amount_micro = 1")
