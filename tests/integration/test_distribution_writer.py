"""The group writer at its worst moments: races, poison, lost connections, a full queue."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from libs.postgres import Postgres
from libs.refusals import Refusal
from services.distribution.model import Answer, Charge, Part
from services.distribution.writer.ticket import Outcome
from tests.conftest import Database
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running
from tests.support.eventually import eventually
from tests.support.proxies import Proxy, proxied

MAX_BALANCE = 2**63 - 1


@asynccontextmanager
async def running(database: Database, **changed: str) -> AsyncIterator[Ledger]:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(dsn, referral, **changed) as ledger,
    ):
        yield ledger


@asynccontextmanager
async def two_replicas(database: Database) -> AsyncIterator[tuple[Ledger, Ledger]]:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(dsn, referral) as one,
        ledger_running(dsn, referral) as two,
    ):
        yield one, two


@asynccontextmanager
async def behind_proxy(database: Database, **changed: str) -> AsyncIterator[tuple[Ledger, Proxy, Postgres]]:
    """A ledger whose way to the database can be disturbed, and a way past it."""
    dsn = await database("distribution")
    async with (
        proxied(dsn) as (proxy, through),
        referral_running(await database("referral")) as referral,
        ledger_running(through, referral, **changed) as ledger,
        await Postgres.open(dsn, schema="distribution") as straight,
    ):
        yield ledger, proxy, straight


def some_charges(seed: int, count: int) -> list[Charge]:
    """Charges of every kind, some of them twice, some of those with other content."""
    chance = random.Random(seed)
    made: list[Charge] = []
    for number in range(count):
        if made and chance.random() < 0.15:
            made.append(chance.choice(made))
            continue
        revenue = chance.choice([1, 7, 99, 33_333, chance.randrange(1, 10**9), 10**15])
        promotional = chance.choice([0, 0, 0, revenue // 3, revenue])
        made.append(
            charge(
                chance.choice([f"c{number}", f"c{chance.randrange(count)}"]),
                f"payer-{chance.randrange(6)}",
                revenue,
                promotional_micro=promotional,
                provider_cost_micro=revenue * chance.randrange(0, 11) // 10,
                community_id=chance.choice(["artists", "coders", "cooks"]),
                finalized_at=NOW - timedelta(days=chance.randrange(0, 500)),
                model_breakdown=(Part("m", revenue),) if chance.random() < 0.2 else (),
                funding=(Part("p", revenue - promotional),) if promotional < revenue and chance.random() < 0.2 else (),
            )
        )
    return made


def word(outcome: Outcome | Refusal) -> object:
    """An outcome without what differs from run to run."""
    if isinstance(outcome, Answer):
        return outcome.posted.inference_charge_id, outcome.posted.decision, outcome.replayed
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


@pytest.mark.parametrize("seed", range(3))
async def test_a_batch_does_what_its_charges_do_one_by_one(database: Database, seed: int) -> None:
    charges = some_charges(seed, 150)
    results = []
    for grouped in (True, False):
        async with running(database) as ledger:
            for payer in range(4):
                await ledger.referral.refer(f"payer-{payer}", later(days=-100 * payer), f"creator-{payer % 2}")
            if grouped:
                outcomes = await ledger.finalize_batch(charges)
            else:
                outcomes = [(await ledger.finalize_batch([each]))[0] for each in charges]
            await ledger.check_books()
            creators = {await ledger.referral.commands.ref(f"creator-{n}"): f"creator-{n}" for n in range(2)}
            balances = {
                ":".join(creators.get(part, part) for part in name.split(":")): balance
                for name, balance in (await ledger.balances()).items()
            }
            results.append(([word(outcome) for outcome in outcomes], balances, await ledger.count()))
    assert results[0] == results[1]


async def test_two_replicas_racing_on_the_same_charges_write_each_once(database: Database) -> None:
    async with two_replicas(database) as (one, two):
        await one.referral.refer("payer-0", later(days=-3))
        charges = [charge(f"c{number}", f"payer-{number % 5}") for number in range(300)]
        mixed = [random.Random(seed).sample(charges, len(charges)) for seed in range(4)]
        async with asyncio.TaskGroup() as group:
            runs = [
                group.create_task(ledger.finalize_batch(part))
                for order, ledger in zip(mixed, (one, two, one, two), strict=True)
                for part in (order[:100], order[100:200], order[200:])
            ]
        answers = [outcome for run in runs for outcome in run.result()]
        assert all(isinstance(answer, Answer) for answer in answers)
        fresh = [a.posted.inference_charge_id for a in answers if isinstance(a, Answer) and not a.replayed]
        assert sorted(fresh) == sorted(each.inference_charge_id for each in charges)
        assert len({a.posted for a in answers if isinstance(a, Answer)}) == 300
        await one.check_books()


async def test_replicas_posting_to_the_same_accounts_lose_no_amount(database: Database) -> None:
    async with two_replicas(database) as (one, two):
        for number in range(8):
            await one.referral.refer(f"payer-{number}", later(days=-3), f"creator-{number % 3}")

        async def pour(ledger: Ledger, seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(40):
                await ledger.finalize_batch(
                    [
                        charge(payer=f"payer-{chance.randrange(8)}", community_id=f"c{chance.randrange(9)}")
                        for _ in range(7)
                    ]
                )

        await asyncio.gather(pour(one, 1), pour(two, 2), pour(one, 3), pour(two, 4))
        assert await one.count() == 4 * 40 * 7
        await one.check_books()


async def test_one_charge_that_cannot_be_posted_spoils_no_other(database: Database) -> None:
    async with running(database) as ledger:
        # A community so rich that another cent would not fit into 64 bits.
        await ledger.execute(
            "INSERT INTO accounts (name, kind, balance_micro) VALUES ('community:rich', 'community', $1)", MAX_BALANCE
        )
        charges = [charge(f"c{number}") for number in range(60)]
        charges[17] = charge("poison", community_id="rich")
        outcomes = await ledger.finalize_batch(charges)
        assert [getattr(outcome, "reason", "") for outcome in outcomes].count("CHARGE_UNPOSTABLE") == 1
        assert getattr(outcomes[17], "reason", "") == "CHARGE_UNPOSTABLE"
        assert await ledger.count() == 59
        assert await ledger.try_finalize(charge("poison")) == "ORGANIC"
        await ledger.execute("UPDATE accounts SET balance_micro = 0 WHERE name = 'community:rich'")
        await ledger.check_books()


async def test_whatever_fails_in_the_database_is_told_without_a_word_of_it(database: Database) -> None:
    async with running(database) as ledger:
        await ledger.execute("ALTER TABLE distributions ADD CHECK (community_id <> 'cursed')")
        outcomes = await ledger.finalize_batch([charge("a"), charge("b", community_id="cursed"), charge("c")])
        assert [type(outcome) for outcome in outcomes] == [Answer, asyncpg.CheckViolationError, Answer]
        assert await ledger.try_finalize(charge("b", community_id="cursed")) == "INTERNAL_ERROR"
        await ledger.check_books()


async def test_followers_of_a_charge_that_fails_get_their_own_chance(database: Database) -> None:
    async with running(database) as ledger:
        await ledger.execute("ALTER TABLE distributions ADD CHECK (community_id <> 'cursed')")
        cursed, other = charge("c", community_id="cursed"), charge("c")
        outcomes = await ledger.finalize_batch([cursed, other, cursed, other])
        assert [getattr(outcome, "replayed", None) for outcome in outcomes] == [None, False, None, True]
        await ledger.check_books()


async def test_a_commit_whose_end_nobody_saw_is_found_again_and_is_not_a_replay(database: Database) -> None:
    async with behind_proxy(database) as (ledger, proxy, straight):
        await ledger.finalize(charge("first"))
        proxy.mute()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(ledger.finalize(charge(f"c{number}"))) for number in range(10)]
            await eventually(lambda: counted(straight, 11))
            assert not any(task.done() for task in waiting)
            proxy.cut()
        answers = [task.result() for task in waiting]
        assert not any(answer.replayed for answer in answers)
        assert len({answer.posted.distribution_id for answer in answers}) == 10
        await ledger.check_books()


async def test_connections_cut_again_and_again_lose_and_double_nothing(database: Database) -> None:
    async with behind_proxy(database) as (ledger, proxy, _):
        await ledger.referral.refer("payer", later(days=-3))
        await ledger.finalize(charge())
        answered = asyncio.Event()

        async def cut() -> None:
            """Cut with whatever is under way then, once something came through: however slow the machine, it ends."""
            while True:
                await answered.wait()
                answered.clear()
                proxy.cut()

        async def pour(name: int) -> None:
            for number in range(25):
                while True:
                    word = await ledger.try_finalize(charge(f"c{name}-{number}"))
                    if word in {"ATTRIBUTED", "REPLAYED"}:
                        break
                    assert word == "LEDGER_UNREACHABLE"
                answered.set()

        cutting = asyncio.create_task(cut())
        await asyncio.gather(*(pour(name) for name in range(8)))
        cutting.cancel()
        await eventually(ledger.count)
        assert await ledger.count() == 201
        await ledger.check_books()


async def test_a_database_that_stays_away_is_told_after_the_patience_and_comes_back(database: Database) -> None:
    async with behind_proxy(database, LEDGER_PATIENCE_SECONDS="0.3") as (ledger, proxy, _):
        await ledger.finalize(charge("first"))
        await proxy.stop()
        words = await asyncio.gather(*(ledger.try_finalize(charge(f"c{number}")) for number in range(5)))
        assert words == ["LEDGER_UNREACHABLE"] * 5
        await proxy.start()
        assert await eventually(lambda: finalized(ledger, charge("c0")))
        await ledger.check_books()


async def test_a_full_queue_refuses_and_takes_nothing(database: Database) -> None:
    async with behind_proxy(database, LEDGER_QUEUE_MAX="512") as (ledger, proxy, straight):
        await ledger.finalize(charge("first"))
        proxy.mute()
        async with asyncio.TaskGroup() as group:
            stuck = group.create_task(ledger.finalize(charge("stuck")))
            await eventually(lambda: counted(straight, 2))
            waiting = [group.create_task(ledger.finalize_batch([charge() for _ in range(256)])) for _ in range(2)]
            await asyncio.sleep(0)
            assert await ledger.try_finalize(charge("late")) == "LEDGER_BUSY"
            refused = await ledger.finalize_batch([charge("late"), charge("later")])
            assert [getattr(outcome, "reason", "") for outcome in refused] == ["LEDGER_BUSY"] * 2
            proxy.cut()
        assert not stuck.result().replayed
        assert all(isinstance(outcome, Answer) for task in waiting for outcome in task.result())
        assert await ledger.try_finalize(charge("late")) == "ORGANIC"
        await ledger.check_books()


async def test_a_caller_that_hangs_up_has_its_charge_written_all_the_same(database: Database) -> None:
    async with behind_proxy(database) as (ledger, proxy, straight):
        await ledger.finalize(charge("first"))
        proxy.mute()
        task = asyncio.create_task(ledger.finalize(charge("c")))
        await eventually(lambda: counted(straight, 2))
        task.cancel()
        proxy.cut()
        assert await ledger.try_finalize(charge("c")) == "REPLAYED"
        await ledger.check_books()


async def test_whoever_waits_when_the_writer_ends_is_told_to_send_again(database: Database) -> None:
    async with behind_proxy(database) as (ledger, proxy, straight):
        await ledger.finalize(charge("first"))
        proxy.mute()
        waiting = [asyncio.create_task(ledger.try_finalize(charge(f"c{number}"))) for number in range(3)]
        await eventually(lambda: counted(straight, 4))
        ledger.stop()
        assert await asyncio.gather(*waiting) == ["LEDGER_UNREACHABLE"] * 3
        assert await ledger.try_finalize(charge("after")) == "LEDGER_UNREACHABLE"


async def counted(straight: Postgres, rows: int) -> bool:
    async with straight.connection() as connection:
        return bool(await connection.fetchval("SELECT count(*) = $1 FROM distributions", rows))


async def finalized(ledger: Ledger, one: Charge) -> bool:
    return await ledger.try_finalize(one) != "LEDGER_UNREACHABLE"
