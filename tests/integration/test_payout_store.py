"""What the database itself refuses: moves that are none, forged history, a second attempt beside a live one."""

import itertools
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from libs.ids import new_id
from libs.postgres import Postgres
from protos.payout.v1 import events_pb2
from services.payout.model import Event, Money, Stage
from services.payout.model.destinations import Destination, DestinationState
from services.payout.model.payouts import Payout, begun
from services.payout.model.submissions import AttemptState
from services.payout.rules.machine import TABLE
from services.payout.store import openings, payouts
from services.payout.store.payouts import With
from tests.conftest import Database
from tests.support.provider import TRON

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAIRS = {(stage, to) for (stage, _), to in TABLE.items()}
WAY: dict[Stage, list[Event]] = {
    Stage.REQUESTED: [],
    Stage.AWAITING_CONFIRMATION: [Event.CONFIRMATION_NEEDED],
    Stage.AWAITING_APPROVAL: [Event.APPROVAL_NEEDED],
    Stage.QUEUED: [Event.READY],
    Stage.SUBMITTING: [Event.READY, Event.SUBMIT],
    Stage.PROCESSING: [Event.READY, Event.SUBMIT, Event.ACCEPT],
    Stage.REJECTED: [Event.READY, Event.SUBMIT, Event.REJECT],
    Stage.UNKNOWN: [Event.READY, Event.SUBMIT, Event.LOSE],
    Stage.STALLED: [Event.READY, Event.SUBMIT, Event.ACCEPT, Event.STALL],
    Stage.COMPLETED: [Event.READY, Event.SUBMIT, Event.ACCEPT, Event.COMPLETE],
    Stage.FAILED: [Event.READY, Event.SUBMIT, Event.REJECT, Event.FAIL],
    Stage.CANCELLED: [Event.READY, Event.CANCEL],
    Stage.DECLINED: [Event.APPROVAL_NEEDED, Event.DECLINE],
}


@pytest.fixture
async def postgres(database: Database) -> AsyncIterator[Postgres]:
    async with await Postgres.open(await database("payout"), schema="payout", pool_max=4) as opened:
        yield opened


async def brought(connection: Any, stage: Stage) -> Payout:
    """A payout that was moved to a stage, its money with it."""
    place = Destination(
        new_id(), uuid.uuid4(), "usdttrc20", TRON, "", uuid.uuid4(), DestinationState.NEW, NOW, None, None
    )
    payout = begun(
        new_id(), place, 40_000_000, fee_micro=1_000_000, net_amount=Decimal(39), quoted_until=NOW,
        needs_confirmation=False, approvals_needed=0, approval_reasons=(), cumulative_micro=40_000_000, due_at=NOW,
        request_id=str(uuid.uuid4()), now=NOW,
    )  # fmt: skip
    assert await openings.insert(connection, payout, b"x", destination=place)
    for event in WAY[stage]:
        also = With()
        if payout.stage is Stage.REQUESTED:
            also = With(money=Money.HELD, held=True)
        elif payout.stage is Stage.QUEUED and event is Event.SUBMIT:
            also = With(money=Money.BURNED)
        payout = await payouts.move(connection, payout, event, NOW, actor="test", also=also)
    return payout


async def test_a_payout_that_begins_is_kept_as_it_was_told(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.REQUESTED)
        assert await payouts.get(connection, payout.payout_id) == payout
        rows = await connection.fetch("SELECT topic, payload FROM outbox ORDER BY id")
    destination, change = (row["payload"] for row in rows)
    assert [row["topic"] for row in rows] == ["payout.destinations.v1", "payout.payouts.v1"]
    assert events_pb2.DestinationChanged.FromString(destination).destination_id == str(payout.destination_id)
    assert events_pb2.PayoutChanged.FromString(change) == payouts.event_of(payout)


async def test_every_move_is_told_as_it_was_kept(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.COMPLETED)
        told = await connection.fetchval("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1")
        assert events_pb2.PayoutChanged.FromString(told) == payouts.event_of(payout)
        assert await payouts.get(connection, payout.payout_id) == payout


async def test_nothing_begins_for_an_account_that_was_erased(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.QUEUED)
        await connection.execute("INSERT INTO erased_accounts VALUES ($1, $2, $3)", payout.account_ref, new_id(), NOW)
        place = Destination(
            new_id(), payout.account_ref, "usdttrc20", TRON, "m", uuid.uuid4(), DestinationState.NEW, NOW, None, None
        )
        again = replace(payout, payout_id=new_id(), destination_id=place.destination_id, request_id="again")
        before = await connection.fetchval("SELECT count(*) FROM outbox")
        assert not await openings.insert(connection, again, b"x", turn=1, destination=place)
        assert await connection.fetchval("SELECT count(*) FROM outbox") == before
        assert await payouts.find(connection, again.payout_id) is None


async def test_the_store_knows_the_same_moves_as_the_table(postgres: Postgres) -> None:
    wrong = []
    for stage, to in itertools.product(Stage, Stage):
        if stage is to:
            continue
        try:
            async with postgres.transaction() as connection:
                payout = await brought(connection, stage)
                # Money and hand as the new stage would have them, so that the move itself is judged.
                await connection.execute(
                    """
                    UPDATE payouts SET stage = $2::smallint, revision = revision + 1,
                        manual = ($2::smallint = 6 AND stage = 7),
                        money = CASE WHEN stage = 11 AND $2::smallint = 1 THEN 1
                            WHEN $2::smallint IN (2, 3, 4) THEN greatest(money, 2)
                            WHEN $2::smallint IN (6, 7, 8, 9, 10) THEN greatest(money, 3) ELSE money END,
                        held = CASE WHEN stage = 11 AND $2::smallint = 1 THEN false ELSE held END,
                        round = CASE WHEN stage = 11 AND $2::smallint = 1 THEN round + 1 ELSE round END
                    WHERE payout_id = $1
                    """,
                    payout.payout_id,
                    int(to),
                )
                allowed = True
        except asyncpg.CheckViolationError:
            allowed = False
        except asyncpg.RaiseError:
            allowed = False
        # These two depend on money that this payout does not have: see the next tests.
        if (stage, to) in {(Stage.SUBMITTING, Stage.QUEUED), (Stage.FAILED, Stage.REQUESTED)}:
            continue
        if allowed is not ((stage, to) in PAIRS):
            wrong.append((stage.name, to.name, allowed))
    assert wrong == []


async def test_what_is_burned_is_not_put_back_and_what_is_not_settled_not_tried_again(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        burned, failed = await brought(connection, Stage.SUBMITTING), await brought(connection, Stage.FAILED)
    again = With(money=Money.ASKED, held=False, round=2)
    for payout, event, also in [(burned, Event.PUT_BACK, With()), (failed, Event.RETRY, again)]:
        with pytest.raises(asyncpg.CheckViolationError):
            async with postgres.transaction() as connection:
                await payouts.move(connection, payout, event, NOW, actor="test", also=also)
    async with postgres.transaction() as connection:
        assert await payouts.note_money(connection, failed, Money.CLOSED)
        settled = await payouts.get(connection, failed.payout_id)
        assert (await payouts.move(connection, settled, Event.RETRY, NOW, actor="test", also=again)).round == 2


async def test_two_things_do_not_happen_to_one_revision(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.QUEUED)
    async with postgres.transaction() as connection:
        await payouts.move(connection, payout, Event.CANCEL, NOW, actor="test")
    with pytest.raises(asyncpg.SerializationError):
        async with postgres.transaction() as connection:
            await payouts.move(connection, payout, Event.SUBMIT, NOW, actor="test")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payout_changes SET stage = 10",
        "DELETE FROM payout_changes",
        "TRUNCATE payout_changes",
        "DELETE FROM payouts",
        "TRUNCATE payouts CASCADE",
        "UPDATE payouts SET amount_micro = amount_micro + 1",
        "UPDATE payouts SET account_ref = gen_random_uuid()",
        "UPDATE payouts SET destination_id = gen_random_uuid()",
        "UPDATE payouts SET revision = revision + 1",
        "UPDATE payouts SET money = 1",
        "UPDATE payouts SET round = round + 1",
    ],
)
async def test_history_and_what_was_asked_for_do_not_change(postgres: Postgres, statement: str) -> None:
    async with postgres.transaction() as connection:
        await brought(connection, Stage.QUEUED)
    with pytest.raises(asyncpg.PostgresError):
        async with postgres.transaction() as connection:
            await connection.execute(statement)


async def test_every_change_is_in_the_history_and_told(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.COMPLETED)
        history = await payouts.history(connection, payout.payout_id)
        told = await connection.fetchval("SELECT count(*) FROM outbox WHERE topic = 'payout.payouts.v1'")
    assert [each.stage.name for each in history] == ["REQUESTED", "QUEUED", "SUBMITTING", "PROCESSING", "COMPLETED"]
    assert [each.revision for each in history] == [1, 2, 3, 4, 5]
    assert told == 5


async def attempt(connection: Any, payout: Payout, number: int, round_: int = 1) -> None:
    await connection.execute(
        """
        INSERT INTO payout_submissions (payout_id, attempt, round, unique_external_id, state, amount, prepared_at)
        VALUES ($1, $2, $3, $4, 1, 39, $5)
        """,
        payout.payout_id,
        number,
        round_,
        f"{payout.payout_id.hex}-{number}",
        NOW,
    )


SET = """
    UPDATE payout_submissions SET state = $2::smallint, batch_id = $3, created_at = $4,
        verified_at = CASE WHEN $2::smallint IN (3, 4) THEN $4 ELSE verified_at END,
        closed_at = CASE WHEN $2::smallint >= 4 THEN $4 END
    WHERE payout_id = $1 AND attempt = 1
    """


@pytest.mark.parametrize("states", [[], [2], [2, 3], [2, 3, 4]])
async def test_there_is_no_second_attempt_beside_one_that_may_be_paid(postgres: Postgres, states: list[int]) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.SUBMITTING)
        await attempt(connection, payout, 1)
        for state in states:
            await connection.execute(SET, payout.payout_id, state, "5000000001", NOW)
    with pytest.raises(asyncpg.UniqueViolationError):
        async with postgres.transaction() as connection:
            await attempt(connection, payout, 2)


@pytest.mark.parametrize("states", [[2, 5], [2, 6], [2, 3, 5], [7]])
async def test_there_is_one_after_the_former_is_known_to_be_nothing(postgres: Postgres, states: list[int]) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.SUBMITTING)
        await attempt(connection, payout, 1)
        for state in states:
            await connection.execute(SET, payout.payout_id, state, "" if state == 7 else "5000000001", NOW)
        await attempt(connection, payout, 2)


@pytest.mark.parametrize("to", list(AttemptState))
async def test_an_attempt_that_is_over_stays_what_it_is(postgres: Postgres, to: AttemptState) -> None:
    for states in ([2, 5], [2, 3, 4], [7]):
        async with postgres.transaction() as connection:
            payout = await brought(connection, Stage.SUBMITTING)
            await attempt(connection, payout, 1)
            batch = "" if states == [7] else payout.payout_id.hex[-10:]
            for state in states:
                await connection.execute(SET, payout.payout_id, state, batch, NOW)
        if to == states[-1]:
            continue
        with pytest.raises(asyncpg.PostgresError):
            async with postgres.transaction() as connection:
                await connection.execute(SET, payout.payout_id, int(to), batch, NOW)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.SUBMITTING])
async def test_nothing_is_handed_over_before_its_turn(postgres: Postgres, stage: Stage) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with postgres.transaction() as connection:
            await attempt(connection, await brought(connection, stage), 1)


async def test_what_is_sent_by_hand_is_not_handed_over_and_what_may_be_there_not_sent_by_hand(
    postgres: Postgres,
) -> None:
    async with postgres.transaction() as connection:
        by_hand, there = await brought(connection, Stage.SUBMITTING), await brought(connection, Stage.SUBMITTING)
        await payouts.set_manual(connection, by_hand, manual=True)
        await attempt(connection, there, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        async with postgres.transaction() as connection:
            await attempt(connection, by_hand, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        async with postgres.transaction() as connection:
            await payouts.set_manual(connection, there, manual=True)


async def test_nothing_is_given_back_while_an_attempt_may_be_paid(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        payout = await brought(connection, Stage.SUBMITTING)
        await attempt(connection, payout, 1)
    for event in (Event.REJECT, Event.PUT_BACK):
        with pytest.raises(asyncpg.CheckViolationError):
            async with postgres.transaction() as connection:
                await payouts.move(connection, payout, event, NOW, actor="test")
