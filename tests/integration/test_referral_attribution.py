"""Attribution as the other services ask for it: decided once, the same answer to all."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from services.referral.commands import attribution
from services.referral.model import Attribution
from services.referral.store import registrations
from tests.conftest import Database
from tests.support.referral import START, Referral, opened


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def test_an_unknown_account_is_locked_organic_once_and_told_to_the_others(referral: Referral) -> None:
    first = await referral.resolve("payer")
    referral.clock.advance(timedelta(days=1))
    assert await referral.resolve("payer") == first
    [found] = first
    assert (found.account_id, found.referrer_ref, found.registered_at) == ("payer", None, START)
    [(key, event)] = await referral.events()
    assert key == event.account_ref == str(found.account_ref)
    assert (event.referrer_ref, event.code_ref) == ("", "")


async def test_answers_come_in_the_order_asked_decided_and_undecided_mixed(referral: Referral) -> None:
    code = await referral.code_of("m-creator")
    await referral.register("b-referee", code)
    await referral.ref("known-but-undecided")
    asked = ["z", "b-referee", "a", "known-but-undecided", "m-creator"]
    found = await referral.resolve(*asked)
    assert [each.account_id for each in found] == asked
    assert [each.referrer_ref is None for each in found] == [True, False, True, True, True]
    assert len(await referral.events()) == 5


async def test_five_hundred_accounts_are_answered_at_once(referral: Referral) -> None:
    asked = [f"payer-{number:03}" for number in range(500)]
    random.Random(1).shuffle(asked)
    found = await referral.resolve(*asked)
    assert [each.account_id for each in found] == asked
    assert len({each.account_ref for each in found}) == 500
    assert len(await referral.events()) == 500
    assert await referral.resolve(*asked) == found
    assert len(await referral.events()) == 500


async def test_overlapping_batches_in_any_order_agree_and_never_wait_crosswise(referral: Referral) -> None:
    chance = random.Random(2)
    everyone = [f"payer-{number}" for number in range(60)]
    batches = [chance.sample(everyone, 40) for _ in range(30)]
    answers = await asyncio.gather(*(referral.resolve(*batch) for batch in batches))
    decided: dict[str, Attribution] = {}
    for found in answers:
        for each in found:
            assert decided.setdefault(each.account_id, each) == each
    assert len(await referral.events()) == len(decided) == 60
    [row] = await referral.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0


async def test_a_first_charge_and_a_registration_at_once_give_one_decision(referral: Referral) -> None:
    """Whoever wins, all get the same answer, and the registration is told what became of it."""
    referral.limits = type(referral.limits)(bindings_per_code=1000)
    code = await referral.code_of("creator")
    referees = [f"referee-{number}" for number in range(40)]
    chance = random.Random(3)

    async def late(account_id: str) -> str:
        await asyncio.sleep(chance.random() / 50)
        return await referral.try_register(account_id, code)

    async def charge() -> list[Attribution]:
        await asyncio.sleep(chance.random() / 50)
        return await referral.resolve(*chance.sample(referees, 40))

    async with asyncio.TaskGroup() as tasks:
        attempts = [tasks.create_task(late(account_id)) for account_id in referees]
        charges = [tasks.create_task(charge()) for _ in range(6)]
    outcomes = [attempt.result() for attempt in attempts]
    answers = [each.result() for each in charges]
    final = {each.account_id: each for each in await referral.resolve(*referees)}
    assert all(final[each.account_id] == each for found in answers for each in found)
    expected = ["LOCKED_ORGANIC" if final[account_id].referrer_ref is None else "bound" for account_id in referees]
    assert outcomes == expected
    assert len(await referral.events()) == 40
    assert (await referral.active_code("creator")).uses == outcomes.count("bound")


async def test_a_registration_that_waits_for_a_first_charge_learns_that_it_lost(
    referral: Referral, eventually: Callable[..., Awaitable[object]]
) -> None:
    code = await referral.code_of("creator")
    await referral.ref("referee")
    async with asyncio.TaskGroup() as tasks, referral.postgres.transaction() as charge:
        await registrations.lock_organic(charge, ["referee"], referral.clock.now())
        attempt = tasks.create_task(referral.try_register("referee", code))
        await eventually(lambda: _waiting(referral))
    assert attempt.result() == "LOCKED_ORGANIC"
    assert [row["reason"] for row in await referral.log("referee")] == ["LOCKED_ORGANIC"]
    assert (await referral.active_code("creator")).uses == 0


async def test_surrogates_are_made_once_and_decide_nothing(referral: Referral) -> None:
    ids = ["b", "a", "c"]
    assert await attribution.resolve_accounts(referral.postgres, ids, existing_only=True) == {}
    both = await asyncio.gather(
        *(attribution.resolve_accounts(referral.postgres, ids[::way], existing_only=False) for way in (1, -1) * 10)
    )
    assert list(both[0]) == ids
    assert all(answer == both[0] for answer in both)
    assert await attribution.resolve_accounts(referral.postgres, ["x", "a"], existing_only=True) == {"a": both[0]["a"]}
    assert await referral.rows("SELECT 1 FROM referral_registrations") == []
    assert await referral.try_register("a", await referral.code_of("creator")) == "bound"


async def _waiting(referral: Referral) -> bool:
    """Whether some session of this database waits for a lock."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await referral.rows(query))
