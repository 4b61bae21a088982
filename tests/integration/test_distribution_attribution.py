"""Where a payer's attribution comes from, and what depends on nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.distribution.model import Answer
from tests.conftest import Database
from tests.support.distribution import Ledger, charge, later, ledger_running, referral_running
from tests.support.proxies import proxied


@asynccontextmanager
async def running(database: Database, **changed: str) -> AsyncIterator[Ledger]:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(dsn, referral, **changed) as ledger,
    ):
        yield ledger


async def test_an_unknown_payer_is_locked_organic_by_its_first_valid_charge(database: Database) -> None:
    async with running(database) as ledger:
        assert await ledger.try_finalize(charge(payer="stranger")) == "ORGANIC"
        code = await ledger.referral.commands.code_of("creator")
        assert await ledger.referral.commands.try_register("stranger", code) == "LOCKED_ORGANIC"


async def test_referral_is_asked_once_about_a_payer(database: Database) -> None:
    async with running(database) as ledger:
        for _ in range(3):
            await ledger.finalize_batch([charge(payer=f"payer-{number % 20}") for number in range(200)])
        assert sorted(ledger.referral.asked) == sorted({f"payer-{number}" for number in range(20)})


async def test_misses_that_come_together_are_one_question(database: Database) -> None:
    async with running(database) as ledger:
        calls = ledger.referral.calls
        await asyncio.gather(*(ledger.finalize(charge(payer=f"payer-{number}")) for number in range(300)))
        assert len(ledger.referral.asked) == 300
        # The first goes at once, and the others gather while it is under way.
        assert ledger.referral.calls - calls <= 3


async def test_a_restarted_replica_knows_payers_from_its_own_copy(database: Database) -> None:
    dsn = await database("distribution")
    async with referral_running(await database("referral")) as referral:
        await referral.refer("payer", later(days=-3))
        async with ledger_running(dsn, referral) as ledger:
            assert await ledger.try_finalize(charge()) == "ATTRIBUTED"
        referral.asked.clear()
        async with ledger_running(dsn, referral) as ledger:
            assert await ledger.try_finalize(charge()) == "ATTRIBUTED"
            await ledger.check_books()
        assert referral.asked == []


async def test_memory_is_bounded_and_what_fell_out_comes_back_from_the_copy(database: Database) -> None:
    async with running(database, ATTRIBUTION_CACHE_MAX="10") as ledger:
        await ledger.referral.refer("payer-3", later(days=-3))
        for _ in range(2):
            for number in range(30):
                expected = "ATTRIBUTED" if number == 3 else "ORGANIC"
                assert await ledger.try_finalize(charge(payer=f"payer-{number}")) == expected
        assert len(ledger.referral.asked) == 30


async def test_without_referral_only_the_charges_that_need_it_are_unavailable(database: Database) -> None:
    async with running(database) as ledger:
        await ledger.finalize_batch([charge("old", payer="gone"), charge("known", payer="payer")])
        await ledger.execute("DELETE FROM attributions WHERE account_id = 'gone'")
        ledger.forget("gone")
        await ledger.referral.server.drain(hasty=True)
        outcomes = await ledger.finalize_batch(
            [
                charge("new", payer="stranger"),
                charge("fine", payer="payer"),
                charge("old", payer="gone"),
                charge("old", payer="gone", revenue_micro=1),
                charge("wrong", revenue_micro=0),
            ]
        )
        words = [
            ("replayed" if outcome.replayed else "new")
            if isinstance(outcome, Answer)
            else getattr(outcome, "reason", "")
            for outcome in outcomes
        ]
        assert words == ["ATTRIBUTION_UNREACHABLE", "new", "replayed", "CHARGE_MISMATCH", "REVENUE_OUT_OF_RANGE"]
        assert await ledger.count() == 3
        assert await ledger.value("SELECT count(*) FROM attributions WHERE account_id = 'stranger'") == 0
        await ledger.check_books()


async def test_a_replay_after_the_payer_was_erased_decides_nothing_about_it(database: Database) -> None:
    async with running(database) as ledger:
        await ledger.referral.refer("payer", later(days=-3))
        first = await ledger.finalize(charge("c"))
        # What an erasure leaves: the journal's surrogate, which leads to nobody.
        await ledger.execute("DELETE FROM attributions")
        ledger.forget("payer")
        ledger.referral.asked.clear()
        assert await ledger.finalize(charge("c")) == Answer(first.posted, replayed=True)
        # Asking would have made the account anew, and locked it organic.
        assert ledger.referral.asked == []
        assert await ledger.value("SELECT count(*) FROM attributions") == 0


async def test_while_the_database_is_away_an_unknown_payer_is_told_to_send_again(database: Database) -> None:
    dsn = await database("distribution")
    async with (
        proxied(dsn) as (proxy, through),
        referral_running(await database("referral")) as referral,
        ledger_running(through, referral) as ledger,
    ):
        await ledger.finalize(charge())
        await proxy.stop()
        assert await ledger.try_finalize(charge(payer="stranger")) == "LEDGER_UNREACHABLE"
        await proxy.start()
        assert await ledger.try_finalize(charge(payer="stranger")) == "ORGANIC"
        await ledger.check_books()
