"""First touch on a real PostgreSQL: bound once, limits to the last binding, every attempt on record."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from libs.timestamps import to_datetime
from tests.conftest import Database
from tests.support.referral import START, Referral, opened

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def test_a_referee_is_bound_to_the_owner_of_the_code(referral: Referral) -> None:
    code = await referral.code_of("creator")
    registered = await referral.register("referee", code, channel="discord")
    assert (registered.already_bound, registered.registered_at) == (False, START)
    [attribution] = await referral.resolve("referee")
    assert (str(attribution.referrer_ref), attribution.registered_at) == (await referral.ref("creator"), START)
    assert (await referral.active_code("creator")).uses == 1


async def test_a_registration_is_told_to_the_others_once(referral: Referral) -> None:
    code = await referral.code_of("creator")
    for _ in range(3):
        await referral.try_register("referee", code)
    await referral.register("second", code, channel="x")
    [(key, event), (_, other)] = await referral.events()
    assert key == event.referrer_ref == await referral.ref("creator")
    assert event.account_ref == await referral.ref("referee")
    assert to_datetime(event.registered_at) == START
    [row] = await referral.rows("SELECT code_ref FROM codes")
    assert (event.code_ref, event.channel, other.channel) == (str(row["code_ref"]), "", "x")


async def test_a_code_is_case_insensitive(referral: Referral) -> None:
    code = await referral.code_of("creator", "goodname")
    assert await referral.try_register("referee", f" {code.upper()} ") == "bound"


async def test_the_first_touch_stays(referral: Referral) -> None:
    """Whatever comes later, even a code that nobody has, is a success that changes nothing."""
    await referral.register("referee", await referral.code_of("first"))
    second = await referral.code_of("second")
    referral.clock.advance(timedelta(days=400))
    for code in (second, "nosuchcode", ""):
        registered = await referral.register("referee", code, age=None)
        assert (registered.already_bound, registered.registered_at) == (True, START)
    [attribution] = await referral.resolve("referee")
    assert str(attribution.referrer_ref) == await referral.ref("first")
    assert (await referral.active_code("second")).uses == 0


async def test_fifty_registrations_of_one_referee_at_once_make_one_binding(referral: Referral) -> None:
    """Through five codes, one of which allows a single use: all are answered, nothing is used up in vain."""
    codes = [await referral.code_of(f"creator-{number}", max_uses=number or 1) for number in range(5)]
    answers = await asyncio.gather(*(referral.register("referee", codes[number % 5]) for number in range(50)))
    assert Counter(answer.already_bound for answer in answers) == {False: 1, True: 49}
    assert len(await referral.rows("SELECT 1 FROM referral_registrations")) == 1
    assert await referral.rows("SELECT sum(uses)::int AS uses FROM codes") == [{"uses": 1}]
    assert Counter(row["outcome"] for row in await referral.log("referee")) == {"bound": 1, "already_bound": 49}
    assert len(await referral.events()) == 1


async def test_a_code_binds_ten_in_an_hour_however_many_come_at_once(referral: Referral) -> None:
    code = await referral.code_of("creator")
    outcomes = await asyncio.gather(*(referral.try_register(f"referee-{number}", code) for number in range(30)))
    assert Counter(outcomes) == {"bound": 10, "CODE_VELOCITY_EXCEEDED": 20}
    assert (await referral.active_code("creator")).uses == 10


async def test_the_hour_of_the_velocity_limit_rolls(referral: Referral) -> None:
    code = await referral.code_of("creator")
    for number in range(10):
        assert await referral.try_register(f"referee-{number}", code) == "bound"
        referral.clock.advance(timedelta(minutes=1))
    referral.clock.advance(timedelta(minutes=50) - MICROSECOND)
    assert await referral.try_register("early", code) == "CODE_VELOCITY_EXCEEDED"
    referral.clock.advance(MICROSECOND)
    assert await referral.try_register("in-time", code) == "bound"
    assert await referral.try_register("next", code) == "CODE_VELOCITY_EXCEEDED"


async def test_a_code_binds_no_more_than_its_uses_however_many_come_at_once(referral: Referral) -> None:
    code = await referral.code_of("creator", max_uses=7)
    outcomes = await asyncio.gather(*(referral.try_register(f"referee-{number}", code) for number in range(30)))
    assert Counter(outcomes) == {"bound": 7, "CODE_EXHAUSTED": 23}


async def test_refused_attempts_are_on_record_and_bind_nobody(referral: Referral) -> None:
    own = await referral.code_of("referee")
    code = await referral.code_of("creator")
    assert await referral.try_register("referee", "NoSuchCode") == "CODE_UNKNOWN"
    assert await referral.try_register("referee", own) == "SELF_REFERRAL"
    assert await referral.try_register("referee", code, age=timedelta(hours=24) + MICROSECOND) == "ACCOUNT_TOO_OLD"
    assert await referral.try_register("referee", code, age=None) == "ACCOUNT_AGE_UNKNOWN"
    assert (
        await referral.try_register("referee", code, age=-timedelta(minutes=5) - MICROSECOND) == "ACCOUNT_AGE_INVALID"
    )
    assert await referral.rows("SELECT 1 FROM referral_registrations") == []
    assert await referral.events() == []
    log = await referral.log("referee")
    assert [(row["outcome"], row["reason"]) for row in log] == [
        ("refused", "CODE_UNKNOWN"),
        ("refused", "SELF_REFERRAL"),
        ("refused", "ACCOUNT_TOO_OLD"),
        ("refused", "ACCOUNT_AGE_UNKNOWN"),
        ("refused", "ACCOUNT_AGE_INVALID"),
    ]
    assert [row["code_typed"] for row in log[:3]] == ["nosuchcode", own, code]
    assert await referral.try_register("referee", code, age=timedelta(hours=24)) == "bound"


@pytest.mark.parametrize(
    "code", ["", "a\0b", "'; DROP TABLE codes; --", "é" * 100, "x" * 100_000, "%", "\N{KELVIN SIGN}" * 8]
)
async def test_whatever_is_typed_is_an_unknown_code(referral: Referral, code: str) -> None:
    assert await referral.try_register("referee", code) == "CODE_UNKNOWN"
    assert [row["reason"] for row in await referral.log("referee")] == ["CODE_UNKNOWN"]


async def test_an_account_that_was_in_use_before_stays_organic(referral: Referral) -> None:
    code = await referral.code_of("creator")
    await referral.resolve("referee")
    assert await referral.try_register("referee", code) == "LOCKED_ORGANIC"
    [attribution] = await referral.resolve("referee")
    assert attribution.referrer_ref is None


@pytest.mark.parametrize(
    ("standing", "outcome"),
    [
        ("good", "bound"),
        ("warned", "bound"),
        ("bonuses_on_hold", "bound"),
        ("suspended", "REFERRER_SUSPENDED"),
        ("forfeited", "REFERRER_SUSPENDED"),
    ],
)
async def test_a_suspended_referrer_binds_nobody(referral: Referral, standing: str, outcome: str) -> None:
    code = await referral.code_of("creator")
    await referral.execute(
        "INSERT INTO standings (account_ref, standing, revision, changed_at) SELECT owner_ref, $1, 1, $2 FROM codes",
        standing,
        START,
    )
    assert await referral.try_register("referee", code) == outcome


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE referral_registrations SET channel = 'x'", "append-only"),
        ("TRUNCATE referral_registrations", "append-only"),
        ("DELETE FROM referral_registrations", "erasure and retention"),
        ("UPDATE referral_attribution_log SET channel = 'x'", "append-only"),
        ("TRUNCATE referral_attribution_log", "append-only"),
        ("DELETE FROM referral_attribution_log", "erasure and retention"),
    ],
)
async def test_what_was_decided_and_tried_cannot_be_changed(referral: Referral, statement: str, words: str) -> None:
    await referral.register("referee", await referral.code_of("creator"))
    with pytest.raises(asyncpg.RestrictViolationError, match=words):
        await referral.execute(statement)
    if statement.startswith("DELETE"):
        await referral.execute(f"SET LOCAL referral.erasing = 'on'; {statement}")
        left = await referral.rows(statement.replace("DELETE", "SELECT *"))
        assert left == []


async def test_the_database_itself_refuses_an_account_as_its_own_referrer(referral: Referral) -> None:
    await referral.code_of("creator")
    with pytest.raises(asyncpg.CheckViolationError):
        await referral.execute(
            """
            INSERT INTO referral_registrations (referee_ref, kind, referrer_ref, code_ref, created_at)
            SELECT owner_ref, 'referred', owner_ref, code_ref, created_at FROM codes
            """
        )


async def test_the_database_itself_binds_to_the_owner_of_the_code_alone(referral: Referral) -> None:
    await referral.code_of("creator")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await referral.execute(
            """
            INSERT INTO referral_registrations (referee_ref, kind, referrer_ref, code_ref, created_at)
            SELECT gen_random_uuid(), 'referred', gen_random_uuid(), code_ref, created_at FROM codes
            """
        )
