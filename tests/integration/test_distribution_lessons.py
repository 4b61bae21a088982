"""What went wrong in other ledgers, tried on this one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from libs.jobs import Job, Jobs
from services.distribution.commands import closing, settling
from services.distribution.model.holds import HoldState
from tests.conftest import Database
from tests.support.distribution import Ledger, charge, later, ledger_running, referral_running
from tests.support.eventually import eventually
from tests.support.treasury import DELAY, HOLD, Treasury, opened, outcome, together

X = 1_000_000


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as treasury:
        yield treasury
        await treasury.check()


async def written(books: Treasury) -> tuple[int, ...]:
    tables = ("payout_holds", "payout_hold_states", "transfers", "transfer_entries", "outbox")
    return tuple([await books.value(f"SELECT count(*) FROM {table}") for table in tables])  # noqa: S608 - constants


async def test_a_hold_counts_in_the_check_of_the_balance(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    first, _ = await books.hold(ann, 6 * X)
    assert await outcome(books.hold(ann, 6 * X)) == "INSUFFICIENT_WITHDRAWABLE"
    await books.burn(first)
    assert await outcome(books.hold(ann, 6 * X)) == "INSUFFICIENT_WITHDRAWABLE"
    assert (await books.earnings(ann)).withdrawable_micro == 4 * X
    # What comes back counts again, once.
    await books.move(first, HoldState.FAILED)
    said = await together(*(books.hold(ann, 6 * X) for _ in range(8)))
    assert sorted(said) == ["DONE"] + ["INSUFFICIENT_WITHDRAWABLE"] * 7


async def test_a_hold_that_is_refused_is_not_written_all_the_same(books: Treasury) -> None:
    ann, payout_id = await books.creator(10 * X), str(uuid.uuid4())
    before = await written(books)
    said = await together(*(books.hold(ann, 10 * X + 1, payout_id) for _ in range(16)))
    assert said == ["INSUFFICIENT_WITHDRAWABLE"] * 16
    await books.freeze(ann)
    frozen = await written(books)
    assert await outcome(books.hold(ann, X, payout_id)) == "EARNINGS_FROZEN"
    assert await written(books) == frozen
    assert frozen[:-1] == before[:-1]
    assert frozen[-1] == before[-1] + 1  # that it is frozen was told
    await books.freeze(ann, frozen=False)
    # Nothing stands in the way of the same payout asking for what there is.
    assert await outcome(books.hold(ann, 10 * X, payout_id)) == "DONE"
    held, _ = await books.hold(ann, 10 * X, payout_id)
    assert held.round == 1


async def test_jobs_that_run_within_a_millisecond_settle_once(books: Treasury) -> None:
    refs = [str(uuid.uuid4()) for _ in range(20)]
    for ref in refs * 3:
        await books.earn(ref, X)
    books.clock.advance(DELAY)
    now = books.clock.now()

    async def settle(instant: object) -> None:
        assert instant
        await settling.settle(books.postgres, now, delay=DELAY, hold=HOLD)

    # Two replicas' schedulers, and whoever believes to lead still: they all begin at once.
    schedulers = [
        Jobs(books.postgres, books.clock, [Job("settle", timedelta(minutes=1), settle)], poll_seconds=0.01)
        for _ in range(2)
    ]
    tasks = [asyncio.ensure_future(each.run()) for each in schedulers]
    await asyncio.gather(*(settle(now) for _ in range(12)))

    async def settled() -> bool:
        return not await books.value("SELECT count(*) FROM pending_earnings")

    await eventually(settled)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for ref in refs:
        assert (await books.part(ref, "pending"), await books.part(ref, "settled")) == (0, 3 * X)
        told = [micro for change, micro in await books.changes(ref) if change == "SETTLED"]
        assert sum(told) == 3 * X
    assert await books.value("SELECT count(*) FROM earning_changes WHERE change = 1") == 60
    moved = "SELECT sum(amount_micro) FROM transfer_entries WHERE kind = 2 AND amount_micro > 0"
    assert await books.value(moved) == 60 * X


async def test_a_roll_up_does_not_cut_at_the_greatest_id_and_lose_what_is_in_flight(books: Treasury) -> None:
    ann = await books.creator(10 * X)
    books.clock.advance(timedelta(hours=3) - timedelta(minutes=1))
    async with books.postgres.connection() as slow:
        transaction = slow.transaction()
        await transaction.start()
        # Its id and its instant are the older ones, its commit is the later one.
        account_ids = [
            await slow.fetchval("SELECT account_id FROM accounts WHERE name = $1", name)
            for name in ("treasury:operating", "treasury:payout_reserve")
        ]
        await slow.execute(
            "INSERT INTO transfers VALUES (gen_random_uuid(), 10, 'slow', $1, $2, ARRAY[-7, 7]::bigint[])",
            books.clock.now(),
            account_ids,
        )
        await books.earn(ann, X)
        books.clock.advance(timedelta(hours=2))
        await closing.close_hours(books.postgres, books.clock.now())
        await slow.execute(
            "UPDATE accounts SET balance_micro = balance_micro - 7 WHERE account_id = $1", account_ids[0]
        )
        await slow.execute(
            "UPDATE accounts SET balance_micro = balance_micro + 7 WHERE account_id = $1", account_ids[1]
        )
        await transaction.commit()
    await closing.close_hours(books.postgres, books.clock.now())
    rolled_up = await books.value(
        """
        SELECT snapshot.balance_micro FROM balance_snapshots AS snapshot JOIN accounts USING (account_id)
        WHERE name = 'treasury:payout_reserve' ORDER BY until DESC LIMIT 1
        """
    )
    assert rolled_up == 11 * X + 7 == await books.balance("treasury:payout_reserve")


@asynccontextmanager
async def one_replica(database: Database) -> AsyncIterator[tuple[Ledger, str]]:
    dsn = await database("distribution")
    async with AsyncExitStack() as stack:
        referral = await stack.enter_async_context(referral_running(await database("referral")))
        await referral.refer("payer", later(days=-3))
        yield await stack.enter_async_context(ledger_running(dsn, referral)), dsn


async def test_no_charge_is_acknowledged_before_it_is_durable(database: Database) -> None:
    async with one_replica(database) as (ledger, dsn):
        await ledger.finalize(charge("before"))
        # All has been said and done but the commit, which waits.
        await ledger.execute(
            """
            CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock(4711);
                RETURN NULL;
            END $$
            """
        )
        await ledger.execute(
            "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION wait_at_commit()"
        )
        gate = await asyncpg.connect(dsn, server_settings={"search_path": "distribution"})
        await gate.execute("SELECT pg_advisory_lock(4711)")
        calls = [asyncio.ensure_future(ledger.finalize(charge(f"c{number}"))) for number in range(5)]

        async def at_commit() -> bool:
            waiting = await gate.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return bool(waiting)

        await eventually(at_commit)
        assert await ledger.count() == 1
        assert not any(call.done() for call in calls)
        # Nor does a second asking find out sooner.
        again = asyncio.ensure_future(ledger.finalize(charge("c0")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not again.done()
        await gate.execute("SELECT pg_advisory_unlock(4711)")
        answers = await asyncio.gather(*calls, again)
        assert await ledger.count() == 6
        assert answers[0].posted == answers[-1].posted
        await gate.close()
        # The server decides whether a commit is durable; nobody here asks it not to wait.
        source = await ledger.value("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'")
        assert source in {"default", "configuration file", "command line"}
        await ledger.check_books()
