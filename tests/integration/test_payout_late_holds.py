"""What two learn at the same time: money that was held after all goes back, and nobody is told an error for it."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest

from libs.refusals import Refusal
from protos.payout.v1 import payout_pb2
from services.payout.model import Stage
from services.payout.model.payouts import Payout
from services.payout.store import payouts as store
from tests.conftest import Database
from tests.support import treasury
from tests.support.payout import DOLLAR, EVM_COIN, Payouts, payouts_running, said

# What two that keep the same account for the first time meet: ON CONFLICT looks at one index, there is another.
_OVERTAKES_ONCE = """
    CREATE SEQUENCE overtaken;
    CREATE FUNCTION overtake() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('overtaken') = 1 THEN
            RAISE unique_violation USING CONSTRAINT = 'accounts_account_ref_key';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER overtakes BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION overtake();
"""


@pytest.fixture
async def payouts(database: Database) -> AsyncIterator[Payouts]:
    async with payouts_running(database) as running:
        yield running


async def orphaned(payouts: Payouts, creator: str, amount_micro: int) -> Payout:
    """A payout as a sweeper read it: written down, and the ledger did not answer."""

    async def away(_payout: Payout) -> None:
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(payouts.advancing._ledger, "hold", away)
        asked = await payouts.request(creator, amount_micro)
    async with payouts.postgres.connection() as connection:
        read = await store.get(connection, uuid.UUID(asked.payout_id))
    assert read.stage is Stage.REQUESTED
    return read


async def earns(payouts: Payouts, creator: str, amount_micro: int) -> None:
    await payouts.books.earn(await payouts.ref(creator), amount_micro)
    payouts.clock.advance(treasury.HOLD)
    await payouts.books.settle()
    await payouts.pricing.refresh(payouts.clock.now())


async def test_what_was_refused_to_one_and_held_for_another_goes_back(payouts: Payouts) -> None:
    creator = await payouts.creator(30 * DOLLAR)
    read = await orphaned(payouts, creator, 31 * DOLLAR)
    with pytest.raises(Refusal):
        await payouts.advancing.hold(read)
    await earns(payouts, creator, 5 * DOLLAR)
    # Whoever swept it before that was recorded asks now, and the ledger says yes.
    late = (await payouts.advancing.hold(read)).payout
    assert late.stage is Stage.FAILED
    assert await payouts.held(creator) == 31 * DOLLAR
    assert await payouts.to_end(str(read.payout_id)) == "FAILED"
    assert await payouts.held(creator) == 0
    assert await payouts.withdrawable(creator) == 35 * DOLLAR
    await payouts.books.check()


async def test_a_sweeper_that_read_it_before_the_refusal_does_not_ask_again(payouts: Payouts) -> None:
    creator = await payouts.creator(30 * DOLLAR)
    read = await orphaned(payouts, creator, 31 * DOLLAR)
    with pytest.raises(Refusal):
        await payouts.advancing.hold_orphan(read)
    await earns(payouts, creator, 5 * DOLLAR)
    await payouts.advancing.hold_orphan(read)
    assert await payouts.held(creator) == 0
    assert await payouts.withdrawable(creator) == 35 * DOLLAR


async def test_what_was_cancelled_and_held_after_that_was_settled_goes_back(payouts: Payouts) -> None:
    creator = await payouts.creator(30 * DOLLAR)
    read = await orphaned(payouts, creator, 31 * DOLLAR)
    await payouts.cancel(creator, str(read.payout_id))
    assert await payouts.to_end(str(read.payout_id)) == "CANCELLED"
    await earns(payouts, creator, 5 * DOLLAR)
    assert (await payouts.advancing.hold(read)).payout.stage is Stage.CANCELLED
    assert await payouts.to_end(str(read.payout_id)) == "CANCELLED"
    assert await payouts.withdrawable(creator) == 35 * DOLLAR
    await payouts.books.check()


async def test_what_was_held_after_all_can_be_tried_again_in_another_round(payouts: Payouts) -> None:
    creator = await payouts.creator(40 * DOLLAR)
    first = await payouts.queued(creator, 20 * DOLLAR)
    assert await payouts.to_end(first.payout_id) == "COMPLETED"
    payouts.clock.advance(treasury.HOLD)
    await payouts.pricing.refresh(payouts.clock.now())
    read = await orphaned(payouts, creator, 21 * DOLLAR)
    with pytest.raises(Refusal):
        await payouts.advancing.hold(read)
    assert await said(payouts.retry(creator, str(read.payout_id))) == "PAYOUT_NOT_RETRYABLE"
    await earns(payouts, creator, 5 * DOLLAR)
    await payouts.advancing.hold(read)
    assert await payouts.to_end(str(read.payout_id)) == "FAILED"
    again = await payouts.retry(creator, str(read.payout_id))
    assert again.round == 2
    assert await payouts.held(creator) == 21 * DOLLAR
    assert await payouts.to_end(str(read.payout_id)) == "COMPLETED"
    assert await payouts.withdrawable(creator) == 4 * DOLLAR
    await payouts.books.check()


async def test_only_what_was_never_held_is_held_after_all(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await payouts.cancel(creator, queued.payout_id)
    assert await payouts.to_end(queued.payout_id) == "CANCELLED"
    with pytest.raises(asyncpg.CheckViolationError):
        await payouts.value("UPDATE payouts SET money = 2")


@pytest.mark.parametrize("first", ["request", "quote"])
async def test_an_account_that_somebody_else_keeps_at_this_moment_is_told_no_error(
    payouts: Payouts, first: str
) -> None:
    creator = await payouts.creator()
    async with payouts.postgres.connection() as connection:
        await connection.execute(_OVERTAKES_ONCE)
    if first == "quote":
        quote = payout_pb2.QuotePayoutRequest(account_id=creator, amount_micro=40 * DOLLAR, currency=EVM_COIN)
        assert await said(payouts.owners.QuotePayout(quote)) == "OK"
    else:
        await payouts.request(creator)
    assert await payouts.value("SELECT last_value FROM overtaken") == 2
    assert await payouts.value("SELECT account_ref FROM accounts") == uuid.UUID(await payouts.ref(creator))
    assert await payouts.value("SELECT count(*) FROM payouts") == (first == "request")
