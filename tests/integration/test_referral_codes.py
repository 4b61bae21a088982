"""Codes on a real PostgreSQL: one per account, and really over when they are over."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.referral.model import CodeState, EndReason
from services.referral.rules import codes as code_rules
from tests.conftest import Database
from tests.support.referral import Referral, opened

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def test_asking_for_a_code_again_returns_the_same(referral: Referral) -> None:
    first, created = await referral.make_code("creator")
    assert created
    assert len(first.code) == 10
    assert await referral.make_code("creator") == (first, False)
    assert await referral.make_code("creator", lasts=timedelta(days=1), max_uses=1) == (first, False)
    assert await referral.active_code("creator") == first


async def test_fifty_requests_at_once_make_one_code(referral: Referral) -> None:
    answers = await asyncio.gather(*(referral.make_code("creator") for _ in range(50)))
    assert len({code.code for code, _ in answers}) == 1
    assert [created for _, created in answers].count(True) == 1
    assert len(await referral.rows("SELECT 1 FROM codes")) == 1


async def test_an_account_without_a_code_is_told_so(referral: Referral) -> None:
    with pytest.raises(code_rules.NoActiveCode):
        await referral.active_code("nobody")


async def test_a_vanity_code_is_given_once(referral: Referral) -> None:
    assert await referral.code_of("creator", "goodname") == "goodname"
    assert await referral.code_of("creator", "goodname") == "goodname"
    with pytest.raises(code_rules.CodeTaken):
        await referral.code_of("another", "goodname")


async def test_a_vanity_code_wanted_by_many_at_once_goes_to_one(referral: Referral) -> None:
    wishes = (referral.make_code(f"creator-{number}", "goodname") for number in range(20))
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    assert sum(isinstance(answer, code_rules.CodeTaken) for answer in answers) == 19
    assert len(await referral.rows("SELECT 1 FROM codes")) == 1


async def test_another_name_is_refused_while_a_code_is_active(referral: Referral) -> None:
    await referral.code_of("creator")
    with pytest.raises(code_rules.ActiveCodeExists):
        await referral.code_of("creator", "goodname")


async def test_a_code_that_has_run_out_of_time_frees_the_slot_and_says_so(referral: Referral) -> None:
    old = await referral.code_of("creator", lasts=timedelta(days=1))
    referral.clock.advance(timedelta(days=1) - MICROSECOND)
    assert await referral.try_register("early", old) == "bound"
    referral.clock.advance(MICROSECOND)
    assert await referral.try_register("late", old) == "CODE_EXPIRED"
    with pytest.raises(code_rules.NoActiveCode):
        await referral.active_code("creator")
    new, created = await referral.make_code("creator")
    assert created
    assert new.code != old


@pytest.mark.parametrize("met_by", ["registration", "owner", "request", "job"])
async def test_the_end_of_a_code_is_written_down_the_same_by_whoever_meets_it(referral: Referral, met_by: str) -> None:
    code, _ = await referral.make_code("creator", lasts=timedelta(days=1))
    referral.clock.advance(timedelta(days=3))
    match met_by:
        case "registration":
            assert await referral.try_register("late", code.code) == "CODE_EXPIRED"
        case "owner":
            with pytest.raises(code_rules.NoActiveCode):
                await referral.active_code("creator")
        case "request":
            assert await referral.code_of("creator") != code.code
        case _:
            assert await referral.expire_codes() == 1
    [row] = await referral.rows("SELECT state, ended_at, end_reason FROM codes WHERE code = $1", code.code)
    assert row == {"state": CodeState.EXPIRED, "ended_at": code.expires_at, "end_reason": EndReason.TIME}


async def test_the_job_expires_what_is_due_and_nothing_else_and_nothing_twice(referral: Referral) -> None:
    for number in range(7):
        await referral.code_of(f"creator-{number}", lasts=timedelta(hours=number + 1))
    await referral.code_of("for-ever")
    referral.clock.advance(timedelta(hours=3))
    assert await referral.expire_codes() == 3
    assert await referral.expire_codes() == 0
    assert len(await referral.rows("SELECT 1 FROM codes WHERE state = 'active'")) == 5


async def test_a_used_up_code_frees_the_slot_and_says_so(referral: Referral) -> None:
    old = await referral.code_of("creator", max_uses=2)
    assert [await referral.try_register(f"referee-{number}", old) for number in range(3)] == [
        "bound", "bound", "CODE_EXHAUSTED",
    ]  # fmt: skip
    with pytest.raises(code_rules.NoActiveCode):
        await referral.active_code("creator")
    assert await referral.code_of("creator") != old


async def test_a_retired_code_is_never_issued_again(referral: Referral) -> None:
    old = await referral.code_of("creator", "goodname", lasts=timedelta(days=1))
    referral.clock.advance(timedelta(days=9999))
    for account_id in ("creator", "another"):
        with pytest.raises(code_rules.CodeTaken):
            await referral.code_of(account_id, old)


async def test_a_code_is_not_born_expired(referral: Referral) -> None:
    with pytest.raises(code_rules.CodeExpiryInvalid):
        await referral.code_of("creator", lasts=timedelta(0))
    assert await referral.rows("SELECT 1 FROM codes") == []


async def test_a_revoked_code_says_so(referral: Referral) -> None:
    code = await referral.code_of("creator")
    await referral.execute("UPDATE codes SET state = 'revoked', ended_at = created_at, end_reason = 'operator'")
    assert await referral.try_register("referee", code) == "CODE_REVOKED"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE codes SET state = 'active', ended_at = NULL, end_reason = NULL",
        "UPDATE codes SET uses = 0",
        "DELETE FROM codes",
        "TRUNCATE codes CASCADE",
    ],
)
async def test_the_database_itself_keeps_a_retired_code_retired(referral: Referral, statement: str) -> None:
    code = await referral.code_of("creator", max_uses=1)
    await referral.register("referee", code)
    with pytest.raises(asyncpg.PostgresError, match=r"does not change|append-only"):
        await referral.execute(statement)


async def test_the_database_itself_refuses_a_second_active_code(referral: Referral) -> None:
    await referral.code_of("creator")
    with pytest.raises(asyncpg.UniqueViolationError, match="codes_one_active_per_owner"):
        await referral.execute(
            """
            INSERT INTO codes (code_ref, code, owner_ref, created_at)
            SELECT gen_random_uuid(), 'anothercode', owner_ref, created_at FROM codes
            """
        )
