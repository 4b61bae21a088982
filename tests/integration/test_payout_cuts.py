"""Payout dies between its two sides, at each call to the ledger; whoever comes after finds what to do."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from libs import erasure
from libs.postgres import Connection
from protos.payout.v1 import admin_pb2, payout_pb2
from services.payout.commands import standing
from services.payout.consumers import _erase
from services.payout.ledger import Ledger
from services.payout.model.payouts import Payout
from tests.conftest import Database
from tests.support.payout import DOLLAR, MINUTE, TRON, Payouts, payouts_running, said


class Died(BaseException):
    """What a kill looks like from within: nothing after it is done."""


class Dying:
    """Lets the real ledger do its part, and dies before or after one of its calls."""

    def __init__(self, ledger: Ledger, call: str, side: str) -> None:
        self._ledger = ledger
        self._call = call
        self._side = side
        self.died = False

    def __getattr__(self, name: str) -> Any:
        async def called(payout: Payout, *more: str) -> None:
            dies = name == self._call and not self.died
            if dies and self._side == "before":
                self.died = True
                raise Died
            await getattr(self._ledger, name)(payout, *more)
            if dies:
                self.died = True
                raise Died

        return called


@pytest.fixture
async def payouts(database: Database) -> AsyncIterator[Payouts]:
    async with payouts_running(database) as running:
        yield running


async def lives_on(payouts: Payouts, payout_id: str, dying: Dying) -> str:
    """Everybody does their part; whoever dies is started again."""
    for _ in range(80):
        try:
            await payouts.advancing.run()
        except Died:
            assert dying.died
        await payouts.engine.run()
        (row,) = await payouts.rows("SELECT stage, money FROM payouts")
        if row["stage"] >= 10 and row["money"] == 4:
            return await payouts.stage(payout_id)
        payouts.clock.advance(MINUTE)
        await payouts.pricing.refresh(payouts.clock.now())
    raise AssertionError(f"still {row}")


async def asks(payouts: Payouts, creator: str) -> payout_pb2.Payout:
    """Asks, and asks the same again after the process died."""
    request = payouts.asking(creator)
    try:
        answer = await payouts.owners.RequestPayout(request, timeout=5)
    except Exception:  # noqa: BLE001 - the connection of whoever died
        answer = await payouts.owners.RequestPayout(request, timeout=5)
    found: payout_pb2.Payout = answer.payout
    return found


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("call", ["hold", "burn", "complete"])
async def test_a_payout_is_debited_once_wherever_payout_dies(payouts: Payouts, call: str, side: str) -> None:
    creator = await payouts.creator()
    dying = cut(payouts, call, side)
    asked = await asks(payouts, creator)
    await payouts.sign(creator, asked)
    assert await lives_on(payouts, asked.payout_id, dying) == "COMPLETED"
    assert dying.died
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    done = await payouts.payout(creator, asked.payout_id)
    assert int(payouts.running.sent * DOLLAR) == done.net_micro == await payouts.books.balance("provider:sent")
    await payouts.books.check()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("call", ["hold", "give_back_held"])
async def test_a_cancelled_payout_is_given_back_once_wherever_payout_dies(
    payouts: Payouts, call: str, side: str
) -> None:
    creator = await payouts.creator()
    dying = cut(payouts, call, side)
    asked = await asks(payouts, creator)
    await said(payouts.cancel(creator, asked.payout_id))
    assert await lives_on(payouts, asked.payout_id, dying) == "CANCELLED"
    assert dying.died
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    await payouts.books.check()


@pytest.mark.parametrize("side", ["before", "after"])
async def test_what_failed_is_given_back_once_wherever_payout_dies(payouts: Payouts, side: str) -> None:
    creator = await payouts.creator()
    dying = cut(payouts, "give_back_burned", side)
    queued = await payouts.queued(creator)
    payouts.running.fault("create", "refused")
    assert await lives_on(payouts, queued.payout_id, dying) == "FAILED"
    assert dying.died
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    await payouts.books.check()


def cut(payouts: Payouts, call: str, side: str) -> Dying:
    dying = Dying(payouts.advancing._ledger, call, side)
    unchecked: Any = payouts.advancing
    unchecked._ledger = dying
    return dying


async def test_a_requested_payout_that_nobody_held_is_held_by_the_sweeper(payouts: Payouts) -> None:
    creator = await payouts.creator()
    dying = cut(payouts, "hold", "before")
    request = payouts.asking(creator)
    assert await said(payouts.owners.RequestPayout(request, timeout=5)) != "OK"
    assert dying.died
    (row,) = await payouts.rows("SELECT payout_id, stage FROM payouts")
    assert row["stage"] == 1
    await payouts.advancing.run()
    assert await payouts.stage(str(row["payout_id"])) == "REQUESTED"
    payouts.clock.advance(timedelta(seconds=10))
    await payouts.advancing.run()
    assert await payouts.stage(str(row["payout_id"])) == "AWAITING_CONFIRMATION"
    assert await payouts.held(creator) == 40 * DOLLAR
    again = await payouts.owners.RequestPayout(request)
    assert again.payout.payout_id == str(row["payout_id"])


async def told(payouts: Payouts, creator: str, number: int, revision: int) -> int:
    async with payouts.postgres.transaction() as connection:
        return await standing.apply(
            connection, payouts.clock, uuid.UUID(await payouts.ref(creator)), number, revision, payouts.clock.now()
        )


async def test_a_suspension_that_is_told_ends_what_the_provider_does_not_have(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    assert await told(payouts, creator, 4, 2) == 1
    assert await told(payouts, creator, 4, 2) == 0
    await payouts.advancing.run()
    assert await payouts.stage(queued.payout_id) == "CANCELLED"
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    assert await said(payouts.request(creator)) == "ACCOUNT_SUSPENDED"
    assert await told(payouts, creator, 1, 3) == 0
    await payouts.request(creator)
    assert await told(payouts, creator, 4, 1) == 0, "an older word changes nothing"


async def test_a_suspension_leaves_what_the_provider_may_have(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await payouts.advancing.run()
    await payouts.engine.run()
    assert await told(payouts, creator, 5, 1) == 0
    assert await payouts.to_end(queued.payout_id) == "COMPLETED"


async def test_an_erased_account_leaves_no_address_and_its_history_leads_to_nobody(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator, currency="usdttrc20", destination_address=TRON)
    await payouts.cancel(creator, asked.payout_id)
    ref = uuid.UUID(await payouts.ref(creator))

    async def forget(connection: Connection) -> int:
        return await erasure.forget(
            connection, _erase, account_ref=ref, erasure_id=uuid.uuid4(), erased_at=payouts.clock.now()
        )

    async with payouts.postgres.transaction() as connection:
        assert await forget(connection) == 3
        assert await forget(connection) == 0
    dump = await payouts.rows(
        """
        SELECT string_agg(t::text, ' ') AS everything FROM (
            SELECT payouts::text AS t FROM payouts UNION ALL SELECT destinations::text FROM destinations
            UNION ALL SELECT payout_changes::text FROM payout_changes UNION ALL SELECT accounts::text FROM accounts
            UNION ALL SELECT confirmations::text FROM confirmations
        ) AS all_of_it
        """
    )
    assert TRON not in dump[0]["everything"]
    assert creator not in dump[0]["everything"]
    assert asked.payout_id in dump[0]["everything"]
    got = await payouts.admin.GetPayoutRecord(admin_pb2.GetPayoutRecordRequest(payout_id=asked.payout_id))
    assert (got.payout.account_id, got.payout.payout.destination_address) == ("", "")
