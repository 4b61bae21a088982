"""What an account asks for takes turns: what was decided before another turn is decided again, or not written."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from libs.idempotency import Answer
from libs.ids import new_id
from protos.payout.v1 import events_pb2, payout_pb2
from services.payout.model import Stage
from services.payout.store import locks, openings
from services.payout.store import payouts as store
from tests.integration.test_payout_late_holds import orphaned
from tests.support.databases import Databases
from tests.support.payout import DOLLAR, Payouts, key, payouts_shared, said

COUNTED = ("payouts", "destinations", "confirmations", "outbox", "events", "idempotency")


@pytest.fixture(scope="module")
async def payouts(databases: Databases) -> AsyncIterator[Payouts]:
    """One replica for all: each test has creators of its own."""
    async with payouts_shared(databases) as running:
        yield running


async def counted(payouts: Payouts) -> list[int]:
    return [await payouts.value(f"SELECT count(*) FROM {table}") for table in COUNTED]  # noqa: S608 - constants


async def with_another_turn(payouts: Payouts, creator: str, act: Callable[[], Awaitable[object]]) -> str:
    """Asks for a payout, and has something else happen between its look and what it writes."""
    looked, going_on = asyncio.Event(), asyncio.Event()
    look = openings.look

    async def slowly(*given: Any) -> Any:
        met = await look(*given)
        if not looked.is_set():
            looked.set()
            await going_on.wait()
        return met

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openings, "look", slowly)
        asking = asyncio.create_task(said(payouts.request(creator)))
        await looked.wait()
        await act()
        going_on.set()
        return await asking


async def test_what_was_decided_before_somebody_elses_turn_is_not_written(payouts: Payouts) -> None:
    creator = await payouts.creator()
    first = await orphaned(payouts, creator, 20 * DOLLAR)
    before = await counted(payouts)
    again = replace(first, payout_id=new_id(), request_id=key())
    turn_of = "SELECT turn FROM turns WHERE account_ref = $1"
    now = await payouts.value(turn_of, first.account_ref)
    for turn in (0, now - 1, now + 1):
        async with payouts.postgres.connection() as connection:
            with pytest.raises(asyncpg.SerializationError):
                await openings.insert(connection, again, b"x", turn=turn)
    assert await counted(payouts) == before
    assert await payouts.value(turn_of, first.account_ref) == now
    async with payouts.postgres.connection() as connection:
        assert await openings.insert(connection, again, b"x", turn=now)


async def test_a_request_that_another_one_overtook_is_judged_again(payouts: Payouts) -> None:
    creator = await payouts.creator()
    came = await with_another_turn(payouts, creator, lambda: payouts.request(creator, 30 * DOLLAR))
    assert came == "PAYOUT_TOO_SOON"
    assert await payouts.held(creator) == 30 * DOLLAR


async def test_a_destination_removed_meanwhile_begins_anew(payouts: Payouts) -> None:
    creator = await payouts.creator()
    first = await payouts.request(creator)
    await payouts.sign(creator, first)
    await payouts.cancel(creator, first.payout_id)
    about = payout_pb2.ListDestinationsRequest(account_id=creator)
    (known,) = (await payouts.owners.ListDestinations(about)).destinations
    remove = payout_pb2.RemoveDestinationRequest(
        request_id=key(), account_id=creator, destination_id=known.destination_id
    )
    assert await with_another_turn(payouts, creator, lambda: payouts.owners.RemoveDestination(remove)) == "OK"
    # What was confirmed was taken back before this payout was written: it asks again.
    (opened,) = await payouts.rows(
        "SELECT needs_confirmation, destination_id FROM payouts WHERE account_ref = $1 AND stage = 2",
        uuid.UUID(await payouts.ref(creator)),
    )
    assert opened == {"needs_confirmation": True, "destination_id": uuid.UUID(known.destination_id)}


async def test_a_destination_is_removed_or_used_but_not_both(payouts: Payouts) -> None:
    creator = await payouts.creator()
    for _ in range(8):
        first = await payouts.request(creator)
        await payouts.cancel(creator, first.payout_id)
        about = payout_pb2.ListDestinationsRequest(account_id=creator)
        (known,) = (await payouts.owners.ListDestinations(about)).destinations
        remove = payout_pb2.RemoveDestinationRequest(
            request_id=key(), account_id=creator, destination_id=known.destination_id
        )
        asked, removed = await asyncio.gather(payouts.request(creator), said(payouts.owners.RemoveDestination(remove)))
        assert removed in {"OK", "DESTINATION_IN_USE"}
        state = "SELECT state FROM destinations WHERE destination_id = $1"
        assert await payouts.value(state, uuid.UUID(known.destination_id)) == 1
        await payouts.cancel(creator, asked.payout_id)


async def test_one_request_id_of_two_accounts_is_one_payout(payouts: Payouts) -> None:
    for _ in range(8):
        creators = [await payouts.creator(), await payouts.creator()]
        request_id = key()
        came = await asyncio.gather(*(said(payouts.request(each, request_id=request_id)) for each in creators))
        assert sorted(came) == ["OK", "REQUEST_ID_REUSED"]
        assert sum([await payouts.held(each) for each in creators]) == 40 * DOLLAR


async def test_many_requests_of_a_new_account_keep_it_once_and_open_one_payout(payouts: Payouts) -> None:
    creator = await payouts.creator()
    came = await asyncio.gather(*(said(payouts.request(creator, 10 * DOLLAR + each)) for each in range(16)))
    assert sorted(came) == ["OK"] + ["PAYOUT_TOO_SOON"] * 15
    assert await payouts.value("SELECT count(*) FROM accounts WHERE account_id = $1", creator) == 1


async def test_an_account_forgotten_meanwhile_opens_nothing(payouts: Payouts) -> None:
    creator = await payouts.creator()
    await payouts.accounts.made(creator)

    async def forget() -> None:
        async with payouts.postgres.transaction() as connection:
            ref = uuid.UUID(await payouts.ref(creator))
            await connection.execute("INSERT INTO erased_accounts VALUES ($1, $2, now())", ref, new_id())
            await connection.execute("DELETE FROM accounts WHERE account_ref = $1", ref)

    before = await payouts.value("SELECT count(*) FROM payouts")
    assert await with_another_turn(payouts, creator, forget) == "PAYOUT_ACCOUNT_UNREACHABLE"
    assert await payouts.value("SELECT count(*) FROM payouts") == before


async def test_what_a_requester_was_told_stays_their_answer_when_it_is_held_later(payouts: Payouts) -> None:
    creator = await payouts.creator()
    read = await orphaned(payouts, creator, 40 * DOLLAR)
    kept = "SELECT response FROM idempotency WHERE request_id = $1"
    told = await payouts.value(kept, read.request_id)
    answer = Answer(read.request_id, "RequestPayout", b"x", b"something else")
    held = await payouts.advancing.hold(read, lambda _held: answer)
    assert (held.payout.stage, held.answer) == (Stage.AWAITING_CONFIRMATION, None)
    assert await payouts.value(kept, read.request_id) == told
    assert payout_pb2.RequestPayoutResponse.FromString(told).payout.stage == events_pb2.PAYOUT_STAGE_REQUESTED


async def test_the_answer_is_kept_with_the_change_that_it_tells_of(payouts: Payouts) -> None:
    creator = await payouts.creator()
    request = payouts.asking(creator)
    given = await payouts.owners.RequestPayout(request)
    (kept,) = await payouts.rows(
        """
        SELECT response, idempotency.xmin::text AS kept_by, payouts.xmin::text AS moved_by
        FROM idempotency JOIN payouts USING (request_id) WHERE request_id = $1
        """,
        request.request_id,
    )
    assert payout_pb2.RequestPayoutResponse.FromString(kept["response"]) == given
    assert kept["kept_by"] == kept["moved_by"]
    async with payouts.postgres.connection() as connection:
        found = await store.get(connection, uuid.UUID(given.payout.payout_id))
    assert (found.stage, found.revision) == (given.payout.stage, given.payout.revision)


async def test_turns_of_one_account_wait_for_one_another_and_never_for_another_account(payouts: Payouts) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    async with payouts.postgres.transaction() as first:
        await locks.account(first, ours)
        async with payouts.postgres.transaction() as second:
            await locks.account(second, theirs)
        async with payouts.postgres.transaction() as third:
            await third.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await locks.account(third, ours)
