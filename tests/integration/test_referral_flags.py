"""What others are told of registrations that do not count: at each change, once, with a revision."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from protos.referral.v1.events_pb2 import RegistrationFlagged
from services.referral.commands import bonuses as moves
from services.referral.commands import qualifying
from services.referral.model.bonuses import Action, ActionKind, ActionSource, BonusTerms, DenialReason
from services.referral.rules import bonuses as bonus_rules
from services.referral.store import bonuses
from tests.conftest import Database
from tests.support.referral import opened
from tests.support.risk import CLEAR, CONFIRM, DAY, Desk, desk_at


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with opened(await database("referral")) as referral, desk_at(referral) as desk:
        yield desk


async def told(desk: Desk) -> list[tuple[str, bool, int]]:
    """Referee, whether it is flagged, and the revision, in order; each under the referrer's key."""
    rows = await desk.referral.rows("SELECT key, payload FROM outbox WHERE topic = 'referral.flags.v1' ORDER BY id")
    events = [RegistrationFlagged.FromString(row["payload"]) for row in rows]
    assert all(row["key"] == event.referrer_ref for row, event in zip(rows, events, strict=True))
    names = {
        str(row["account_ref"]): row["account_id"]
        for row in await desk.referral.rows("SELECT account_ref, account_id FROM accounts")
    }
    return [(names[event.account_ref], event.flagged, event.revision) for event in events]


async def deny(desk: Desk, account_id: str, reason: DenialReason) -> None:
    """A bonus of a referee, denied."""
    action = Action(
        ActionSource.BILLING,
        ActionKind.CREDIT_PURCHASE,
        f"action of {account_id}",
        UUID(int=0),
        5_000_000,
        desk.clock.now(),
    )
    recorded = await qualifying.record_action(desk.referral.postgres, desk.clock, BonusTerms(), account_id, action)
    assert recorded.bonus is not None
    async with desk.referral.postgres.transaction() as connection:
        bonus = await bonuses.lock(connection, recorded.bonus.bonus_id)
        assert bonus is not None
        await moves.change(connection, bonus, bonus_rules.denied(bonus, reason, desk.clock.now()))


async def test_who_is_not_flagged_is_never_told_of(desk: Desk) -> None:
    await desk.crowd("honest", 3)
    desk.clock.advance(8 * DAY)
    await desk.rescore()
    assert await told(desk) == []


async def test_a_flag_is_told_once_and_taken_back_when_the_case_is_cleared(desk: Desk) -> None:
    await desk.crowd("honest", 8)
    await desk.farm("a", "b")
    assert await told(desk) == [("b", True, 1)]
    # The first of a farm is found out a week later; what is flagged already stays so and is not told again.
    desk.clock.advance(8 * DAY)
    await desk.rescore()
    assert await told(desk) == [("b", True, 1), ("a", True, 1)]
    await desk.decide((await desk.case_of("b")).case_id, CLEAR)
    assert (await told(desk))[2:] == [("b", False, 2)]
    # Later scores do not undo what a reviewer found.
    desk.clock.advance(8 * DAY)
    await desk.rescore()
    assert len(await told(desk)) == 3


async def test_what_is_confirmed_stays_flagged_and_is_not_told_twice(desk: Desk) -> None:
    await desk.crowd("honest", 8)
    await desk.farm("a", "b")
    await desk.decide((await desk.case_of("b")).case_id, CONFIRM)
    assert await told(desk) == [("b", True, 1)]


@pytest.mark.parametrize(
    ("reason", "counts"),
    [
        (DenialReason.REFUNDED, False),
        (DenialReason.REFERRER_FORFEITED, False),
        (DenialReason.REFERRER_CAP, True),
        (DenialReason.BUDGET_EXHAUSTED, True),
    ],
)
async def test_a_bonus_that_is_reversed_takes_its_referral_back_and_a_cap_does_not(
    desk: Desk, reason: DenialReason, *, counts: bool
) -> None:
    await desk.sign_up("referee")
    await deny(desk, "referee", reason)
    assert await told(desk) == ([] if counts else [("referee", True, 1)])


async def test_a_reviewer_and_a_refund_at_once_leave_what_both_together_mean(desk: Desk) -> None:
    await desk.crowd("honest", 8)
    await desk.farm("a", "b")
    case_id = (await desk.case_of("b")).case_id
    await asyncio.gather(desk.decide(case_id, CLEAR), deny(desk, "b", DenialReason.REFUNDED))
    events = await told(desk)
    assert events[-1][:2] == ("b", True)
    assert [revision for _, _, revision in events] == list(range(1, len(events) + 1))
