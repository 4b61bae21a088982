"""An erased account at distribution: its id is gone from tables and memories, its charges stay whole."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from libs import erasure
from libs.ids import new_id
from services.distribution.attribution import AccountRefs
from services.distribution.commands import erasing
from tests.conftest import Database
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running
from tests.support.eventually import eventually


@asynccontextmanager
async def replicas(database: Database) -> AsyncIterator[tuple[Ledger, Ledger]]:
    dsn = await database("distribution")
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(dsn, referral) as one,
        ledger_running(dsn, referral) as other,
    ):
        yield one, other


async def erased(ledger: Ledger, account_id: str) -> UUID:
    """What the erasure of an account does at referral, and then here; answers its surrogate."""
    rows = await ledger.referral.commands.rows("SELECT account_ref FROM accounts WHERE account_id = $1", account_id)
    account_ref: UUID = rows[0]["account_ref"]
    await ledger.referral.commands.execute("DELETE FROM accounts WHERE account_ref = $1", account_ref)
    async with ledger.postgres.transaction() as connection:
        await erasure.forget(
            connection, erasing.erase, account_ref=account_ref, erasure_id=new_id(), erased_at=ledger.clock.now()
        )
    return account_ref


async def remembered(ledger: Ledger, account_id: str) -> bool:
    return ledger.attributions.known(account_id) is not None


async def test_no_replica_remembers_an_erased_account(database: Database) -> None:
    async with replicas(database) as (one, other):
        for ledger in (one, other):
            await ledger.finalize_batch([charge(payer="payer"), charge(payer="bystander")])
        await erased(one, "payer")
        assert await one.value("SELECT count(*) FROM attributions WHERE account_id = 'payer'") == 0
        for ledger in (one, other):
            await eventually(partial(forgotten, ledger))
            assert await remembered(ledger, "bystander")


async def forgotten(ledger: Ledger) -> bool:
    return not await remembered(ledger, "payer")


async def test_an_erased_id_that_comes_back_is_somebody_new(database: Database) -> None:
    async with replicas(database) as (ledger, _):
        creator = await ledger.referral.refer("payer", later(days=-3))
        assert await ledger.try_finalize(charge("before")) == "ATTRIBUTED"
        before = await erased(ledger, "payer")
        await eventually(lambda: forgotten(ledger))
        assert await ledger.try_finalize(charge("after")) == "ORGANIC"
        parties = await ledger.rows("SELECT inference_charge_id, payer_ref, referrer_ref FROM distributions")
        by_charge = {row["inference_charge_id"]: row for row in parties}
        assert by_charge["before"]["payer_ref"] == before
        assert str(by_charge["before"]["referrer_ref"]) == creator
        assert by_charge["after"]["payer_ref"] != before
        assert by_charge["after"]["referrer_ref"] is None
        # The old charge is answered as ever, by whichever surrogate it is asked for.
        assert await ledger.try_finalize(charge("before")) == "REPLAYED"
        assert await ledger.try_finalize(charge("before", revenue_micro=1)) == "CHARGE_MISMATCH"
        await ledger.check_books()


async def test_a_surrogate_learnt_too_late_is_neither_kept_nor_used(database: Database) -> None:
    async with replicas(database) as (ledger, _):
        await ledger.finalize(charge())
        before = await erased(ledger, "payer")
        async with ledger.postgres.transaction() as connection:
            await connection.execute("INSERT INTO account_refs VALUES ('payer', $1)", before)
            await connection.execute("INSERT INTO attributions VALUES ('payer', $1, NULL, $2)", before, NOW)
        assert await ledger.value("SELECT count(*) FROM attributions") == 0
        assert await ledger.value("SELECT count(*) FROM account_refs") == 0


async def test_who_never_paid_is_forgotten_too(database: Database) -> None:
    async with replicas(database) as (ledger, _):
        refs = AccountRefs(ledger.postgres, ledger.attributions._referral)
        before = await refs.made("buyer")
        assert await ledger.value("SELECT count(*) FROM account_refs WHERE account_id = 'buyer'") == 1
        await erased(ledger, "buyer")
        assert await ledger.value("SELECT count(*) FROM account_refs") == 0
        assert await refs.known("buyer") is None
        assert await refs.made("buyer") != before


async def test_charges_under_way_while_payers_are_erased_are_all_answered_and_the_books_hold(
    database: Database,
) -> None:
    async with replicas(database) as (one, other):
        payers = [f"payer-{number}" for number in range(6)]

        async def charging(ledger: Ledger, name: str) -> list[str]:
            return [
                await ledger.try_finalize(charge(f"{name}-{number}", payer=payers[number % len(payers)]))
                for number in range(90)
            ]

        async def erasing_all() -> None:
            for payer in payers:
                await erased(one, payer)

        await one.finalize_batch([charge(payer=payer) for payer in payers])
        async with asyncio.TaskGroup() as tasks:
            said = [tasks.create_task(charging(ledger, name)) for ledger, name in ((one, "a"), (other, "b"))]
            tasks.create_task(erasing_all())
        words = {word for task in said for word in task.result()}
        assert words <= {"ORGANIC", "ATTRIBUTION_UNREACHABLE"}
        for ledger in (one, other):
            await ledger.check_books()
        known = await one.rows("SELECT account_ref FROM attributions")
        gone = await one.rows("SELECT account_ref FROM erased_accounts")
        assert {row["account_ref"] for row in known}.isdisjoint(row["account_ref"] for row in gone)


async def test_bindings_are_forgotten_24_months_after_their_window(database: Database) -> None:
    async with replicas(database) as (ledger, _):
        await ledger.referral.refer("old", later(days=-3 * 366))
        await ledger.referral.refer("young", later(days=-3 * 365 + 3))
        for payer in ("old", "young"):
            assert await ledger.try_finalize(charge(payer=payer)) == "WINDOW_ENDED"
        assert await erasing.forget_bindings(ledger.postgres, NOW, months=36) == 1
        assert await erasing.forget_bindings(ledger.postgres, NOW, months=36) == 0
        rows = await ledger.rows("SELECT account_id FROM attributions WHERE referrer_ref IS NOT NULL")
        assert [row["account_id"] for row in rows] == ["young"]
