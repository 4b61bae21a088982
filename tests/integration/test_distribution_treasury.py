"""The reserve and its two operators, the switch, and every door of the treasury."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status.rpc_status import from_call
from prometheus_client import REGISTRY

from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2 as pb
from services.distribution.commands import treasury
from services.distribution.jobs import all_jobs
from services.distribution.model import OPERATING, PAYOUT_RESERVE
from services.distribution.model.campaigns import Order
from services.distribution.model.holds import HoldState
from tests.conftest import Database
from tests.support.distribution import NOW, settings
from tests.support.treasury import Doors, Treasury, opened, outcome, served, together

X = 1_000_000
TOP_UP, WITHDRAWAL = pb.RESERVE_DIRECTION_TOP_UP, pb.RESERVE_DIRECTION_WITHDRAWAL


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as opened_books:
        yield opened_books
        await opened_books.check()


async def request(
    books: Treasury, direction: pb.ReserveDirection.ValueType, amount_micro: int, operator: str = "ann"
) -> pb.ReserveChange:
    asked = pb.RequestReserveChangeRequest(
        request_id=str(uuid.uuid4()), direction=direction, amount_micro=amount_micro, operator_id=operator, reason="why"
    )
    answer = await treasury.request_reserve_change(books.postgres, books.clock, asked, Order(operator, "why"))
    return answer.reserve_change


async def approve(books: Treasury, change: pb.ReserveChange, operator: str = "bob", request_id: str = "") -> Any:
    asked = pb.ApproveReserveChangeRequest(
        request_id=request_id or str(uuid.uuid4()),
        reserve_change_id=change.reserve_change_id,
        operator_id=operator,
        reason="fine",
    )
    return await treasury.approve_reserve_change(books.postgres, books.clock, asked, Order(operator, "fine"))


async def reject(books: Treasury, change: pb.ReserveChange, operator: str = "bob") -> Any:
    asked = pb.RejectReserveChangeRequest(
        request_id=str(uuid.uuid4()),
        reserve_change_id=change.reserve_change_id,
        operator_id=operator,
        reason="no",
    )
    return await treasury.reject_reserve_change(books.postgres, books.clock, asked, Order(operator, "no"))


async def pause(books: Treasury, request_id: str = "") -> pb.PausePayoutsResponse:
    asked = pb.PausePayoutsRequest(request_id=request_id or str(uuid.uuid4()), operator_id="ann", reason="odd")
    return await treasury.pause_payouts(books.postgres, books.clock, asked, Order("ann", "odd"))


async def resume(books: Treasury, request_id: str = "") -> pb.ResumePayoutsResponse:
    asked = pb.ResumePayoutsRequest(request_id=request_id or str(uuid.uuid4()), operator_id="bob", reason="well")
    return await treasury.resume_payouts(books.postgres, books.clock, asked, Order("bob", "well"))


async def test_nothing_moves_before_a_second_operator_agrees(books: Treasury) -> None:
    change = await request(books, TOP_UP, 5 * X)
    assert await books.balance(PAYOUT_RESERVE) == 0
    assert await outcome(approve(books, change, "ann")) == "RESERVE_CHANGE_NEEDS_SECOND"
    assert await outcome(approve(books, change, "Ann ")) == "RESERVE_CHANGE_NEEDS_SECOND"
    books.clock.advance(timedelta(minutes=1))
    approved = (await approve(books, change)).reserve_change
    assert (approved.state, approved.decided_by) == (pb.RESERVE_CHANGE_STATE_APPROVED, "bob")
    assert approved.decided_at == to_timestamp(NOW + timedelta(minutes=1))
    assert (await books.balance(PAYOUT_RESERVE), await books.balance(OPERATING)) == (5 * X, -5 * X)
    assert await books.value("SELECT kind FROM transfers WHERE transfer_id = $1", approved.transfer_id) == 10


async def test_a_change_is_decided_once(books: Treasury) -> None:
    change, dropped = await request(books, TOP_UP, X), await request(books, TOP_UP, X)
    said = await together(
        *(approve(books, change, f"operator-{number}") for number in range(16)),
        *(reject(books, change, f"operator-{number}") for number in range(16)),
    )
    assert sorted(said) == ["DONE"] + ["RESERVE_CHANGE_DECIDED"] * 31
    # Who asked may drop it.
    assert await outcome(reject(books, dropped, "ann")) == "DONE"
    assert await outcome(approve(books, dropped)) == "RESERVE_CHANGE_DECIDED"
    assert await outcome(approve(books, pb.ReserveChange(reserve_change_id=str(uuid.uuid4())))) == (
        "RESERVE_CHANGE_UNKNOWN"
    )
    assert await books.balance(PAYOUT_RESERVE) in {0, X}
    for statement in ("DELETE FROM reserve_changes", "TRUNCATE reserve_changes"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await books.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError):
        await books.execute("UPDATE reserve_changes SET amount_micro = 1")


async def test_every_request_id_is_answered_as_the_first_time(books: Treasury) -> None:
    change = await request(books, TOP_UP, X)
    first = await approve(books, change, request_id="a")
    assert await approve(books, change, request_id="a") == first
    assert await outcome(approve(books, change, "cyn", request_id="a")) == "REQUEST_ID_REUSED"
    assert await books.balance(PAYOUT_RESERVE) == X
    paused = await pause(books, "p")
    books.clock.advance(timedelta(hours=1))
    await resume(books)
    assert await pause(books, "p") == paused
    assert not await books.value("SELECT paused FROM payouts_switch")
    assert await books.value("SELECT count(*) FROM payouts_switch_changes") == 2


async def test_no_withdrawal_leaves_less_than_creators_have_earned(books: Treasury) -> None:
    """Pending is backed too: it will be settled without the reserve being asked again."""
    ann = await books.creator(5 * X)
    hold, _ = await books.hold(ann, 2 * X)
    await books.earn(ann, 4 * X)
    await approve(books, await request(books, TOP_UP, 3 * X))
    assert await outcome(approve(books, await request(books, WITHDRAWAL, 3 * X + 1))) == "RESERVE_WOULD_NOT_COVER"
    assert await outcome(approve(books, await request(books, WITHDRAWAL, 3 * X))) == "DONE"
    assert await outcome(approve(books, await request(books, WITHDRAWAL, 1))) == "RESERVE_WOULD_NOT_COVER"
    assert await outcome(books.burn(hold)) == "DONE"
    assert await books.balance(PAYOUT_RESERVE) == 7 * X


async def test_withdrawals_race_with_everything_and_the_reserve_covers_after_each(books: Treasury) -> None:
    refs = [await books.creator(4 * X) for _ in range(4)]
    held = [(await books.hold(ref, X)).hold for ref in refs for _ in range(2)]
    await approve(books, await request(books, TOP_UP, 10 * X))
    changes = [await request(books, WITHDRAWAL, X) for _ in range(32)]
    said = await together(
        *(approve(books, change) for change in changes[:16]),
        *(books.burn(hold) for hold in held),
        *(books.earn(ref, 3) for ref in refs),
        books.forfeit(refs[0]),
        *(approve(books, change) for change in changes[16:]),
    )
    taken = [word for word in (*said[:16], *said[-16:]) if word == "DONE"]
    assert len(taken) == 10
    assert set(said) == {"DONE", "RESERVE_WOULD_NOT_COVER"}
    owed = await books.value("SELECT sum(balance_micro) FROM accounts WHERE kind LIKE 'creator%'")
    assert await books.balance(PAYOUT_RESERVE) == owed


async def test_a_pause_waits_for_the_burns_that_found_payouts_open(books: Treasury) -> None:
    ann = await books.creator(64 * X)
    held = [(await books.hold(ann, X)).hold for _ in range(16)]
    said = await together(
        *(books.burn(hold) for hold in held[:8]), pause(books), *(books.burn(each) for each in held[8:])
    )
    assert set(said) <= {"DONE", "PAYOUTS_PAUSED"}
    burned = await books.value("SELECT count(*) FROM payout_holds WHERE state = 3")
    assert burned == said.count("DONE") - 1
    assert await outcome(books.burn(held[15])) in {"REPLAYED", "PAYOUTS_PAUSED"}
    await resume(books)
    assert set(await together(*(books.burn(hold) for hold in held))) <= {"DONE", "REPLAYED"}


async def test_payouts_are_not_resumed_while_the_reserve_is_wrong(books: Treasury) -> None:
    ann = await books.creator(5 * X)
    await treasury.record_reserve_audit(books.postgres, books.clock, wrong=True, reason="reserve is 3 short")
    assert await outcome(books.hold(ann, X)) == "PAYOUTS_PAUSED"
    assert await outcome(resume(books)) == "RESERVE_WRONG"
    async with served(books) as doors:
        switch = (await doors.treasury.GetCoverage(pb.GetCoverageRequest())).payouts
    assert (switch.paused, switch.operator_id, switch.reason) == (True, "job:auditor", "reserve is 3 short")
    await treasury.record_reserve_audit(books.postgres, books.clock, wrong=False)
    assert await outcome(books.hold(ann, X)) == "PAYOUTS_PAUSED"
    short = "UPDATE accounts SET balance_micro = balance_micro + $1 WHERE name = 'treasury:payout_reserve'"
    await books.execute(short, -1)
    assert await outcome(resume(books)) == "RESERVE_WRONG"
    await books.execute(short, 1)
    assert await outcome(resume(books)) == "DONE"
    assert await outcome(books.hold(ann, X)) == "DONE"


async def test_an_audit_keeps_the_reason_of_an_operators_pause(books: Treasury) -> None:
    await pause(books)
    await treasury.record_reserve_audit(books.postgres, books.clock, wrong=True, reason="short")
    await treasury.record_reserve_audit(books.postgres, books.clock, wrong=True, reason="short")
    assert await books.value("SELECT operator_id FROM payouts_switch") == "ann"
    assert await outcome(resume(books)) == "RESERVE_WRONG"
    await treasury.record_reserve_audit(books.postgres, books.clock, wrong=False)
    assert await outcome(resume(books)) == "DONE"


async def test_coverage_is_told_by_rpc_and_by_metrics(books: Treasury) -> None:
    ann = await books.creator(3 * X)
    hold, _ = await books.hold(ann, X)
    await books.burn(hold)
    await books.hold(ann, X)
    await books.earn(ann, 5 * X)
    await approve(books, await request(books, TOP_UP, X))
    async with served(books) as doors:
        told = await doors.treasury.GetCoverage(pb.GetCoverageRequest())
    assert (told.reserve_micro, told.pending_micro, told.settled_micro) == (8 * X, 5 * X, X)
    assert (told.held_micro, told.in_flight_micro, told.coverage_bps) == (X, X, 40_000)
    await treasury.measure_coverage(books.postgres)
    assert REGISTRY.get_sample_value("creator_distribution_coverage_ratio") == 4.0
    assert REGISTRY.get_sample_value("creator_distribution_owed_held_micro") == X
    assert {"measure_coverage", "close_hours"} <= {
        job.name for job in all_jobs(books.postgres, books.clock, settings())
    }


async def reason_of(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        status = from_call(error)
        detail = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(detail)
        return str(detail.reason)
    return "OK"


async def test_a_payout_through_the_door(books: Treasury) -> None:
    ann, payout_id = await books.creator(10 * X), str(uuid.uuid4())
    async with served(books) as doors:
        call = doors.treasury
        asked = pb.HoldPayoutRequest(payout_id=payout_id, round=1, account_ref=ann, amount_micro=4 * X)
        held = await call.HoldPayout(asked)
        assert (held.hold.state, held.hold.account_ref, held.replayed) == (pb.PAYOUT_HOLD_STATE_HELD, ann, False)
        assert (await call.HoldPayout(asked)).replayed
        returned = await call.ReturnHold(pb.ReturnHoldRequest(payout_id=payout_id, round=1, reason="CANCELLED"))
        assert returned.hold.state == pb.PAYOUT_HOLD_STATE_RETURNED
        asked.round = 2
        await call.HoldPayout(asked)
        await call.BurnPayout(pb.BurnPayoutRequest(payout_id=payout_id, round=2))
        failed = await call.FailPayout(pb.FailPayoutRequest(payout_id=payout_id, round=2, reason="PROVIDER_REJECTED"))
        assert failed.hold.state == pb.PAYOUT_HOLD_STATE_FAILED
        asked.round = 3
        await call.HoldPayout(asked)
        burned = await call.BurnPayout(pb.BurnPayoutRequest(payout_id=payout_id, round=3))
        assert burned.hold.state == pb.PAYOUT_HOLD_STATE_BURNED
        done = await call.CompletePayout(
            pb.CompletePayoutRequest(payout_id=payout_id, round=3, sent_micro=4 * X - 1, fee_micro=1)
        )
        assert (done.hold.sent_micro, done.hold.fee_micro) == (4 * X - 1, 1)
        latest = await call.GetPayoutHold(pb.GetPayoutHoldRequest(payout_id=payout_id))
        assert latest.hold == done.hold
        second = await call.GetPayoutHold(pb.GetPayoutHoldRequest(payout_id=payout_id, round=2))
        assert second.hold == failed.hold
    assert await books.value("SELECT reason FROM payout_hold_states WHERE state = 5") == "PROVIDER_REJECTED"


async def test_reserve_changes_and_the_switch_through_the_door(books: Treasury) -> None:
    async with served(books) as doors:
        call = doors.treasury
        ids = []
        for number in range(5):
            made = await call.RequestReserveChange(
                pb.RequestReserveChangeRequest(
                    request_id=f"r{number}", direction=TOP_UP, amount_micro=X, operator_id="ann", reason="more"
                )
            )
            ids.append(made.reserve_change.reserve_change_id)
        order = {"operator_id": "bob", "reason": "fine"}
        await call.ApproveReserveChange(
            pb.ApproveReserveChangeRequest(request_id="a", reserve_change_id=ids[0], **order)
        )
        await call.RejectReserveChange(pb.RejectReserveChangeRequest(request_id="b", reserve_change_id=ids[1], **order))
        waiting = pb.RESERVE_CHANGE_STATE_REQUESTED
        assert await listed(doors) == ids[::-1]
        assert await listed(doors, state=waiting) == ids[:1:-1]
        assert await listed(doors, state=pb.RESERVE_CHANGE_STATE_APPROVED) == ids[:1]
        paused = await call.PausePayouts(pb.PausePayoutsRequest(request_id="c", **order))
        assert paused.payouts.paused
        resumed = await call.ResumePayouts(pb.ResumePayoutsRequest(request_id="d", **order))
        assert not resumed.payouts.paused
        freeze = pb.FreezeEarningsRequest(account_ref=str(uuid.uuid4()), standing_revision=1, reason="FLAGGED_SHARE")
        assert (await call.FreezeEarnings(freeze)).freeze.frozen


async def listed(doors: Doors, **asked: Any) -> list[str]:
    ids: list[str] = []
    token = ""
    while True:
        page = await doors.treasury.ListReserveChanges(
            pb.ListReserveChangesRequest(page_size=2, page_token=token, **asked)
        )
        ids += [change.reserve_change_id for change in page.reserve_changes]
        token = page.next_page_token
        if not token:
            return ids


async def test_holds_are_listed_by_their_last_change(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    held = []
    for _ in range(7):
        held.append((await books.hold(ann, X)).hold)
        books.clock.advance(timedelta(minutes=1))
    since = books.clock.now()
    await books.burn(held[0])
    await books.move(held[1], HoldState.RETURNED)
    async with served(books) as doors:

        async def pages(size: int, **asked: Any) -> list[str]:
            ids: list[str] = []
            token = ""
            while True:
                page = await doors.treasury.ListPayoutHolds(
                    pb.ListPayoutHoldsRequest(page_size=size, page_token=token, **asked)
                )
                ids += [hold.payout_id for hold in page.holds]
                token = page.next_page_token
                if not token:
                    return ids

        both = sorted([held[0].payout_id, held[1].payout_id])
        expected = [each.payout_id for each in held[2:]] + both
        assert await pages(2) == await pages(1000) == expected
        assert await pages(1, states=[pb.PAYOUT_HOLD_STATE_BURNED]) == [held[0].payout_id]
        assert await pages(1, changed_since=to_timestamp(since)) == both
        assert await pages(3, states=[1, 2]) == [each for each in expected if each != held[0].payout_id]


NOBODY = str(uuid.uuid4())
TOO_MUCH = 10**15 + 1
ANY: list[Any] = [*range(10)]
HELD: dict[str, Any] = {"payout_id": NOBODY, "round": 1}
ORDER: dict[str, Any] = {"request_id": "r", "operator_id": "ann", "reason": "why"}
BAD: list[tuple[str, Any, str]] = [
    ("HoldPayout", pb.HoldPayoutRequest(payout_id="x", round=1), "PAYOUT_ID_INVALID"),
    ("HoldPayout", pb.HoldPayoutRequest(**HELD, account_ref="ann", amount_micro=1), "REF_INVALID"),
    ("HoldPayout", pb.HoldPayoutRequest(**HELD, account_ref=NOBODY, amount_micro=0), "HOLD_AMOUNT_OUT_OF_RANGE"),
    ("HoldPayout", pb.HoldPayoutRequest(**HELD, account_ref=NOBODY, amount_micro=-1), "HOLD_AMOUNT_OUT_OF_RANGE"),
    ("HoldPayout", pb.HoldPayoutRequest(**HELD, account_ref=NOBODY, amount_micro=TOO_MUCH), "HOLD_AMOUNT_OUT_OF_RANGE"),
    ("HoldPayout", pb.HoldPayoutRequest(payout_id=NOBODY, account_ref=NOBODY, amount_micro=1), "ROUND_INVALID"),
    ("HoldPayout", pb.HoldPayoutRequest(**HELD, account_ref=NOBODY, amount_micro=1), "INSUFFICIENT_WITHDRAWABLE"),
    ("ReturnHold", pb.ReturnHoldRequest(**HELD, reason="for no reason"), "CODED_REASON_INVALID"),
    ("ReturnHold", pb.ReturnHoldRequest(**HELD, reason="CANCELLED"), "HOLD_UNKNOWN"),
    ("BurnPayout", pb.BurnPayoutRequest(**HELD), "HOLD_UNKNOWN"),
    ("BurnPayout", pb.BurnPayoutRequest(payout_id=NOBODY, round=-1), "ROUND_INVALID"),
    ("CompletePayout", pb.CompletePayoutRequest(**HELD, sent_micro=1), "HOLD_UNKNOWN"),
    ("CompletePayout", pb.CompletePayoutRequest(**HELD, sent_micro=-1, fee_micro=2), "SENT_UNBALANCED"),
    ("CompletePayout", pb.CompletePayoutRequest(**HELD, sent_micro=2, fee_micro=-1), "SENT_UNBALANCED"),
    ("FailPayout", pb.FailPayoutRequest(**HELD, reason=""), "CODED_REASON_INVALID"),
    ("FailPayout", pb.FailPayoutRequest(**HELD, reason="X" * 65), "CODED_REASON_INVALID"),
    ("FailPayout", pb.FailPayoutRequest(**HELD, reason="PROVIDER_REJECTED"), "HOLD_UNKNOWN"),
    ("GetPayoutHold", pb.GetPayoutHoldRequest(payout_id=NOBODY), "HOLD_UNKNOWN"),
    ("GetPayoutHold", pb.GetPayoutHoldRequest(payout_id=NOBODY, round=-3), "ROUND_INVALID"),
    ("ListPayoutHolds", pb.ListPayoutHoldsRequest(page_size=1001), "HOLD_PAGE_INVALID"),
    ("ListPayoutHolds", pb.ListPayoutHoldsRequest(page_token="1.2.3"), "HOLD_PAGE_INVALID"),
    ("ListPayoutHolds", pb.ListPayoutHoldsRequest(states=ANY[9:]), "HOLD_STATE_INVALID"),
    ("RequestReserveChange", pb.RequestReserveChangeRequest(**ORDER, amount_micro=1), "RESERVE_DIRECTION_INVALID"),
    ("RequestReserveChange", pb.RequestReserveChangeRequest(**ORDER, direction=TOP_UP), "RESERVE_AMOUNT_OUT_OF_RANGE"),
    (
        "RequestReserveChange",
        pb.RequestReserveChangeRequest(**ORDER, direction=TOP_UP, amount_micro=10**15 + 1),
        "RESERVE_AMOUNT_OUT_OF_RANGE",
    ),
    (
        "RequestReserveChange",
        pb.RequestReserveChangeRequest(direction=TOP_UP, amount_micro=1, operator_id="a", reason="b"),
        "REQUEST_ID_INVALID",
    ),
    ("ApproveReserveChange", pb.ApproveReserveChangeRequest(**ORDER), "RESERVE_CHANGE_ID_INVALID"),
    ("RejectReserveChange", pb.RejectReserveChangeRequest(**ORDER, reserve_change_id=NOBODY), "RESERVE_CHANGE_UNKNOWN"),
    ("ListReserveChanges", pb.ListReserveChangesRequest(page_size=201), "RESERVE_CHANGE_PAGE_INVALID"),
    ("ListReserveChanges", pb.ListReserveChangesRequest(page_token="x"), "RESERVE_CHANGE_PAGE_INVALID"),
    ("ListReserveChanges", pb.ListReserveChangesRequest(state=ANY[7]), "RESERVE_CHANGE_STATE_INVALID"),
    ("PausePayouts", pb.PausePayoutsRequest(request_id="r", reason="why"), "NAME_INVALID"),
    ("PausePayouts", pb.PausePayoutsRequest(request_id="r", operator_id="ann"), "REASON_INVALID"),
    ("ResumePayouts", pb.ResumePayoutsRequest(request_id="r", operator_id="ann", reason="x" * 1001), "REASON_INVALID"),
    ("ResumePayouts", pb.ResumePayoutsRequest(operator_id="ann", reason="x"), "REQUEST_ID_INVALID"),
]  # fmt: skip


async def test_every_refusal_says_why_and_writes_nothing(books: Treasury) -> None:
    async with served(books) as doors:
        for name, asked, reason in BAD:
            assert await reason_of(getattr(doors.treasury, name)(asked)) == reason, (name, asked)
    for table in ("transfers", "payout_holds", "reserve_changes", "payouts_switch_changes", "outbox", "idempotency"):
        assert await books.value(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - constants
