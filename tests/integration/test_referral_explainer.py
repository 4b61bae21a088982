"""Why an account is attributed as it is, and what a code would have done: in coded steps, naming nobody."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from libs.refusals import Refusal
from services.referral.commands import explaining
from services.referral.model.explanations import Explanation
from services.referral.rules import registration as registration_rules
from services.referral.rules.explaining import CHECKS
from tests.conftest import Database
from tests.support.referral import START, Referral, opened


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def of_account(referral: Referral, account_id: str) -> Explanation:
    return await explaining.explain_account(
        referral.postgres, referral.clock, account_id, months=12, operator_id="operator", reason="A complaint."
    )


async def of_code(referral: Referral, code: str, ago: timedelta = timedelta(0)) -> Explanation:
    return await explaining.explain_code(
        referral.postgres,
        referral.clock,
        code,
        referral.clock.now() - ago,
        limits=referral.limits,
        operator_id="operator",
        reason="A complaint.",
    )


def said(explanation: Explanation) -> tuple[str, str]:
    """The verdict, and what the last check said."""
    return explanation.verdict, explanation.steps[-1].reason if explanation.steps else ""


def test_every_refusal_of_a_registration_has_its_check() -> None:
    reasons = {reason for _, told in CHECKS for reason in told}
    refusals = [
        each for each in vars(registration_rules).values() if isinstance(each, type) and issubclass(each, Refusal)
    ]
    own = {
        each.reason for each in refusals if "reason" in vars(each) and each.__module__ == registration_rules.__name__
    }
    assert own - {"CHANNEL_INVALID"} <= reasons


async def test_a_binding_is_explained_by_every_attempt_that_led_to_it(referral: Referral) -> None:
    code = await referral.code_of("alice")
    await referral.try_register("bob", "0000000000")
    referral.clock.advance(timedelta(minutes=1))
    await referral.register("bob", code)
    referral.clock.advance(timedelta(minutes=1))
    await referral.register("bob", code)
    told = await of_account(referral, "bob")
    assert told.verdict == "BOUND"
    assert told.registered_at == START + timedelta(minutes=1)
    assert told.window_end == (START + timedelta(minutes=1)).replace(year=START.year + 1)
    steps = [(step.check, step.reason) for step in told.steps]
    assert steps == [
        ("EXISTING_BINDING", ""),
        ("CODE_EXISTS", "CODE_UNKNOWN"),
        *((check, "") for check, _ in CHECKS),
        ("EXISTING_BINDING", "ALREADY_BOUND"),
    ]
    for name in (code, "alice", "bob", await referral.ref("alice"), await referral.ref("bob")):
        assert name not in repr(told)


async def test_who_was_refused_organic_or_never_seen_is_explained_too(referral: Referral) -> None:
    code = await referral.code_of("alice")
    assert said(await of_account(referral, "nobody")) == ("UNDECIDED", "")
    await referral.try_register("late", code, age=timedelta(days=2))
    assert said(await of_account(referral, "late")) == ("REFUSED", "ACCOUNT_TOO_OLD")
    await referral.try_register("alice", code)
    assert said(await of_account(referral, "alice")) == ("REFUSED", "SELF_REFERRAL")
    await referral.resolve("organic")
    assert said(await of_account(referral, "organic")) == ("ORGANIC", "LOCKED_ORGANIC")


async def test_a_code_is_explained_as_it_was_at_that_time(referral: Referral) -> None:
    code = await referral.code_of("alice", lasts=timedelta(days=10))
    assert said(await of_code(referral, code)) == ("BOUND", "")
    assert said(await of_code(referral, code.upper())) == ("BOUND", "")
    assert said(await of_code(referral, "0000000000")) == ("REFUSED", "CODE_UNKNOWN")
    for number in range(10):
        await referral.register(f"account-{number}", code)
    assert said(await of_code(referral, code)) == ("REFUSED", "CODE_VELOCITY_EXCEEDED")
    referral.clock.advance(timedelta(days=20))
    assert said(await of_code(referral, code)) == ("REFUSED", "CODE_EXPIRED")
    await referral.expire_codes()
    assert said(await of_code(referral, code)) == ("REFUSED", "CODE_EXPIRED")
    assert said(await of_code(referral, code, timedelta(days=15))) == ("BOUND", "")
    assert said(await of_code(referral, code, timedelta(days=25))) == ("REFUSED", "CODE_UNKNOWN")
    with pytest.raises(Refusal, match="not known yet"):
        await of_code(referral, code, timedelta(days=-1))


async def test_who_asked_and_why_is_in_the_audit_log(referral: Referral) -> None:
    await referral.code_of("alice")
    await of_account(referral, "alice")
    (row,) = await referral.rows("SELECT act, operator_id, reason, account_ref::text FROM audit_log")
    assert row == {
        "act": "ATTRIBUTION_EXPLAINED",
        "operator_id": "operator",
        "reason": "A complaint.",
        "account_ref": await referral.ref("alice"),
    }
