"""Graduated sanctions, orders of operators, and what distribution is told of them until it answers."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from libs.clock import ManualClock
from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2
from protos.referral.v1 import admin_pb2 as pb
from protos.referral.v1 import events_pb2
from services.referral.commands import standings
from services.referral.commands.enforcing import Enforcing
from tests.conftest import Database
from tests.support import treasury
from tests.support.events import Unanswered
from tests.support.referral import START, opened
from tests.support.risk import CLEAR, CONFIRM, CONFIRMED, DAY, HOUR, Desk, desk_at, refused
from tests.support.treasury import Doors, Treasury

DOLLAR = 1_000_000


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with opened(await database("referral")) as referral, desk_at(referral) as desk:
        yield desk


class Killed(Exception):
    """The process died here."""


class Line:
    """The treasury's stub of one replica; what is cut is called and not answered, or kills who calls."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.away = False
        self.lost: set[str] = set()
        self.kills: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        async def call(request: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if self.meanwhile:
                await self.meanwhile()
            if self.away:
                raise Unanswered
            answer = await getattr(self._stub, name)(request, **options)
            if name in self.kills:
                raise Killed
            if name in self.lost:
                raise Unanswered
            return answer

        return call


class Mesh:
    """Referral beside the real treasury."""

    def __init__(self, desk: Desk, books: Treasury, doors: Doors) -> None:
        self.desk, self.books, self.doors = desk, books, doors
        self.line = Line(doors.treasury)
        stub: Any = self.line
        self.enforcing = Enforcing(desk.referral.postgres, desk.clock, stub)

    async def tell(self) -> None:
        await self.enforcing.tell_all(self.desk.clock.now())

    async def rich(self, account_id: str, micro: int = DOLLAR) -> str:
        """A creator with that much to withdraw, and as much again to come."""
        await self.desk.referral.code_of(account_id)
        creator_ref = str(await self.desk.ref(account_id))
        await self.books.earn(creator_ref, micro)
        self.books.clock.advance(treasury.HOLD)
        await self.books.settle()
        await self.books.earn(creator_ref, micro)
        return creator_ref

    async def hold(self, creator_ref: str) -> Any:
        request = treasury_pb2.HoldPayoutRequest(
            payout_id=str(uuid.uuid4()), round=1, account_ref=creator_ref, amount_micro=DOLLAR // 2
        )
        return await self.doors.treasury.HoldPayout(request)

    async def untold(self) -> list[str]:
        rows = await self.desk.referral.rows(
            "SELECT act FROM standing_enforcements WHERE next_try_at IS NOT NULL AND answered_at IS NULL"
        )
        return [row["act"] for row in rows]


@pytest.fixture
async def mesh(desk: Desk, database: Database) -> AsyncIterator[Mesh]:
    async with treasury.opened(await database("distribution")) as books, treasury.served(books) as doors:
        yield Mesh(desk, books, doors)
        await books.check()


async def test_the_ladder_is_climbed_with_the_share_of_flagged_referrals(desk: Desk) -> None:
    await desk.crowd("a", 7)
    seen = []
    for number in range(9):
        if (await desk.stands("creator"))[0] == "suspended":
            break
        await desk.farm(f"f{number}")
        seen.append(await desk.stands("creator"))
    # The first of them is not flagged yet: 1/9, 2/10, 3/11, 4/12 …
    assert seen == [
        ("good", 0), ("good", 0), ("good", 0), ("warned", 1), ("warned", 1), ("warned", 1), ("bonuses_on_hold", 2),
        ("bonuses_on_hold", 2), ("bonuses_on_hold", 2),
    ]  # fmt: skip
    assert await desk.told("creator") == [("WARNED", "FLAGGED_SHARE", 1), ("BONUSES_ON_HOLD", "FLAGGED_SHARE", 2)]


async def test_fewer_than_five_referrals_are_no_sample(desk: Desk) -> None:
    await desk.farm("a", "b", "c", "d")
    assert await desk.stands("creator") == ("good", 0)
    await desk.farm("e")
    assert await desk.stands("creator") == ("suspended", 1)
    assert await desk.referral.try_register("f", await desk.referral.code_of("creator")) == "REFERRER_SUSPENDED"
    [case] = await desk.cases(subject=pb.REVIEW_SUBJECT_STANDING)
    assert (case.urgency, case.risk_score, case.referee_ref) == (pb.REVIEW_URGENCY_URGENT, 8000, "")
    found = await desk.stub.GetReviewCase(pb.GetReviewCaseRequest(case_id=case.case_id))
    assert len(found.related_refs) == 4
    assert await desk.acts() == ["STANDING_SUSPENDED"]


async def test_a_shared_network_alone_sanctions_nobody_until_a_reviewer_says_so(desk: Desk) -> None:
    for number in range(8):
        await desk.sign_up(f"a{number}", ip_address="203.0.113.7")
    assert await desk.stands("creator") == ("good", 0)
    cases = await desk.cases(subject=pb.REVIEW_SUBJECT_REGISTRATION)
    assert len(cases) == 6
    for case in cases[:5]:
        await desk.decide(case.case_id, CONFIRM)
    assert await desk.stands("creator") == ("suspended", 3)


async def test_a_standing_is_lifted_when_the_share_no_longer_bears_it_out(desk: Desk) -> None:
    await desk.crowd("a", 7)
    await desk.farm("a", "b", "c", "d")
    assert (await desk.stands("creator"))[0] == "warned"
    await desk.crowd("b", 5)
    await asyncio.gather(*(standings.look_at_all(desk.referral.postgres, desk.clock) for _ in range(3)))
    assert await desk.stands("creator") == ("good", 2)


async def test_a_reviewer_who_clears_referrals_lifts_a_standing_but_no_suspension(desk: Desk) -> None:
    await desk.crowd("a", 7)
    await desk.farm("a", "b", "c", "d")
    for name in "bcd":
        await desk.decide((await desk.case_of(name)).case_id, CLEAR)
    assert (await desk.stands("creator"))[0] == "good"
    await desk.suspend("creator")
    assert (await desk.stands("creator"))[0] == "suspended"
    await standings.look_at_all(desk.referral.postgres, desk.clock)
    assert (await desk.stands("creator"))[0] == "suspended"


async def test_a_reinstated_account_is_judged_by_what_comes_after(desk: Desk) -> None:
    await desk.farm(*"abcde")
    desk.clock.advance(HOUR)
    request = pb.ReinstateAccountRequest(**desk.order("creator"))
    answers = [(await desk.stub.ReinstateAccount(request)).standing for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0].standing, answers[0].reason, answers[0].revision) == (events_pb2.STANDING_GOOD, "REINSTATED", 2)
    assert (answers[0].referrals, answers[0].flagged) == (5, 4)
    assert await desk.cases(subject=pb.REVIEW_SUBJECT_STANDING) == []
    desk.clock.advance(DAY)
    await desk.farm("f", "g", "h", "i")
    assert (await desk.stands("creator"))[0] == "good"
    await desk.farm("j")
    assert (await desk.stands("creator"))[0] == "suspended"


async def test_clearing_a_suspension_reinstates_and_confirming_it_keeps_it(desk: Desk) -> None:
    for name in "xy":
        await desk.referral.ref(name)
        await desk.suspend(name)
    cases = {case.referrer_ref: case.case_id for case in await desk.cases(subject=pb.REVIEW_SUBJECT_STANDING)}
    await desk.decide(cases[str(await desk.ref("x"))], CLEAR, "oleg")
    await desk.decide(cases[str(await desk.ref("y"))], CONFIRM, "oleg")
    assert (await desk.stands("x"), await desk.stands("y")) == (("good", 2), ("suspended", 1))


async def test_fraud_is_confirmed_by_another_operator_and_of_a_suspended_account_only(desk: Desk) -> None:
    await desk.referral.ref("x")

    def confirm(operator_id: str, request_id: str = "") -> pb.ConfirmFraudRequest:
        order = desk.order("x", operator_id)
        return pb.ConfirmFraudRequest(**order | {"request_id": request_id or order["request_id"]})

    assert await refused(desk.stub.ConfirmFraud(confirm("oleg"))) == "ACCOUNT_NOT_SUSPENDED"
    await desk.suspend("x", "olga")
    assert await refused(desk.stub.ConfirmFraud(confirm("olga"))) == "FRAUD_NEEDS_SECOND"
    first = await desk.stub.ConfirmFraud(confirm("oleg", "once"))
    assert first == await desk.stub.ConfirmFraud(confirm("oleg", "once"))
    assert first.standing.standing == events_pb2.STANDING_FORFEITED
    assert [case.decided_by for case in await desk.cases(state=CONFIRMED)] == ["oleg"]
    # There is no way back.
    assert await refused(desk.stub.ConfirmFraud(confirm("oleg"))) == "STANDING_FINAL"
    assert await refused(desk.stub.ReinstateAccount(pb.ReinstateAccountRequest(**desk.order("x")))) == "STANDING_FINAL"
    override = pb.OverrideStandingRequest(**desk.order("x"), standing=events_pb2.STANDING_GOOD)
    assert await refused(desk.stub.OverrideStanding(override)) == "STANDING_FINAL"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await desk.referral.execute("UPDATE standings SET standing = 'good', revision = revision + 1")
    assert await desk.told("x") == [("SUSPENDED", "OVERRIDDEN", 1), ("FORFEITED", "FRAUD_CONFIRMED", 2)]


async def test_who_was_suspended_by_the_share_is_confirmed_by_any_operator(desk: Desk) -> None:
    await desk.farm(*"abcde")
    confirmed = await desk.stub.ConfirmFraud(pb.ConfirmFraudRequest(**desk.order("creator")))
    assert confirmed.standing.revision == 2


async def test_what_an_operator_set_is_made_harsher_by_the_share_and_never_milder(desk: Desk) -> None:
    await desk.referral.code_of("creator")
    override = pb.OverrideStandingRequest(**desk.order("creator"), standing=events_pb2.STANDING_BONUSES_ON_HOLD)
    await desk.stub.OverrideStanding(override)
    await desk.crowd("a", 6)
    await standings.look_at_all(desk.referral.postgres, desk.clock)
    assert await desk.stands("creator") == ("bonuses_on_hold", 1)
    await desk.farm(*"abcdefghi")
    assert (await desk.stands("creator"))[0] == "suspended"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"account_id": ""}, "ACCOUNT_ID_INVALID"),
        ({"account_id": "nobody"}, "ACCOUNT_NOT_KNOWN"),
        ({"operator_id": "é"}, "ACTOR_INVALID"),
        ({"reason": "x" * 1001}, "ACT_REASON_INVALID"),
        ({"request_id": "x" * 129}, "REQUEST_ID_INVALID"),
        ({"standing": 0}, "STANDING_INVALID"),
        ({"standing": events_pb2.STANDING_FORFEITED}, "STANDING_INVALID"),
        ({"standing": 99}, "STANDING_INVALID"),
    ],
)
async def test_an_order_that_makes_no_sense_changes_nothing(desk: Desk, change: dict[str, Any], reason: str) -> None:
    await desk.referral.ref("x")
    order = desk.order("x") | {"standing": events_pb2.STANDING_SUSPENDED} | change
    assert await refused(desk.stub.OverrideStanding(pb.OverrideStandingRequest(**order))) == reason
    assert await desk.stands("x") == ("good", 0)
    assert await desk.acts() == []


async def test_an_exemption_has_an_end_within_a_year(desk: Desk) -> None:
    await desk.referral.ref("x")
    for until in (START, START + 367 * DAY, None):
        order = desk.order("x") | ({"until": to_timestamp(until)} if until else {})
        assert await refused(desk.stub.ExemptAccount(pb.ExemptAccountRequest(**order))) == "EXEMPTION_INVALID"


async def test_a_request_id_stands_for_one_order(desk: Desk) -> None:
    await desk.referral.ref("x")
    order = desk.order("x")
    await desk.stub.OverrideStanding(pb.OverrideStandingRequest(**order, standing=events_pb2.STANDING_SUSPENDED))
    other = pb.OverrideStandingRequest(**order, standing=events_pb2.STANDING_GOOD)
    assert await refused(desk.stub.OverrideStanding(other)) == "REQUEST_ID_REUSED"


async def test_sanctions_race_with_registrations(desk: Desk) -> None:
    """Once a suspension is committed nobody binds any more, and the tally is exact whatever came first."""
    code = await desk.referral.code_of("creator")
    registrations = [desk.referral.try_register(f"a{number}", code) for number in range(12)]
    orders = [desk.suspend("creator", f"op{number}") for number in range(3)]
    outcomes = await asyncio.gather(*registrations[:6], *orders, *registrations[6:])
    words = [each for each in outcomes if isinstance(each, str)]
    assert set(words) <= {"bound", "REFERRER_SUSPENDED"}
    assert await desk.stands("creator") == ("suspended", 3)
    [row] = await desk.referral.rows(
        """
        SELECT (SELECT count(*) FROM referral_registrations) AS bound, (
            SELECT count(*) FROM referral_registrations r, standings s WHERE r.created_at > s.changed_at
        ) AS late
        """
    )
    assert (row["bound"], row["late"]) == (words.count("bound"), 0)
    assert await desk.referral.try_register("late", code) == "REFERRER_SUSPENDED"


async def test_flagged_registrations_at_once_suspend_once(desk: Desk) -> None:
    await desk.crowd("a", 2)
    await asyncio.gather(*(desk.farm(f"f{number}") for number in range(12)), return_exceptions=True)
    standing, revision = await desk.stands("creator")
    assert standing == "suspended"
    assert len(await desk.told("creator")) == revision
    assert len(await desk.cases(subject=pb.REVIEW_SUBJECT_STANDING)) == 1


async def test_a_suspended_creator_withdraws_nothing_until_it_is_reinstated(mesh: Mesh) -> None:
    creator_ref = await mesh.rich("creator", 4 * DOLLAR)
    await mesh.hold(creator_ref)
    await mesh.desk.farm(*"abcde")
    await mesh.tell()
    assert await refused(mesh.hold(creator_ref)) == "EARNINGS_FROZEN"
    assert await mesh.untold() == []
    await mesh.desk.stub.ReinstateAccount(pb.ReinstateAccountRequest(**mesh.desk.order("creator")))
    await mesh.tell()
    await mesh.hold(creator_ref)


async def test_confirmed_fraud_forfeits_what_is_unpaid_once(mesh: Mesh) -> None:
    creator_ref = await mesh.rich("creator")
    await mesh.desk.suspend("creator")
    await mesh.desk.stub.ConfirmFraud(pb.ConfirmFraudRequest(**mesh.desk.order("creator", "oleg")))
    # The freeze of the suspension was never told; the forfeiture brings its own.
    await mesh.tell()
    await mesh.tell()
    assert await mesh.books.balance("platform:forfeited") == 2 * DOLLAR
    assert (await mesh.books.earnings(creator_ref)).frozen
    [row] = await mesh.desk.referral.rows("SELECT * FROM standing_enforcements")
    assert (row["forfeited_micro"], row["round"]) == (2 * DOLLAR, 2)
    assert mesh.line.calls == Counter(FreezeEarnings=1, ForfeitEarnings=1)
    # What accrues later is taken later.
    await mesh.books.earn(creator_ref, DOLLAR)
    mesh.desk.clock.advance(7 * DAY)
    await mesh.tell()
    assert await mesh.books.balance("platform:forfeited") == 3 * DOLLAR


@pytest.mark.parametrize("cut", ["FreezeEarnings", "ForfeitEarnings"])
async def test_who_dies_between_the_call_and_its_answer_tells_again(mesh: Mesh, cut: str) -> None:
    creator_ref = await mesh.rich("creator")
    await mesh.desk.suspend("creator")
    await mesh.desk.stub.ConfirmFraud(pb.ConfirmFraudRequest(**mesh.desk.order("creator", "oleg")))
    for fate in (mesh.line.kills, mesh.line.lost):
        fate.add(cut)
        try:
            await mesh.tell()
        except Killed:
            assert fate is mesh.line.kills
        assert await mesh.untold() == ["forfeit"]
        fate.clear()
    mesh.desk.clock.advance(HOUR)
    await mesh.tell()
    assert await mesh.untold() == []
    assert await mesh.books.balance("platform:forfeited") == 2 * DOLLAR
    [row] = await mesh.desk.referral.rows("SELECT forfeited_micro FROM standing_enforcements")
    assert row["forfeited_micro"] == 2 * DOLLAR
    assert await mesh.books.part(creator_ref, "settled") == await mesh.books.part(creator_ref, "pending") == 0


async def test_a_distribution_that_is_away_is_told_when_it_is_back(mesh: Mesh) -> None:
    creator_ref = await mesh.rich("creator")
    mesh.line.away = True
    await mesh.desk.suspend("creator")
    for _ in range(4):
        await mesh.tell()
    # It is left alone for a while after each try.
    assert mesh.line.calls["FreezeEarnings"] == 1
    mesh.line.away = False
    mesh.desk.clock.advance(HOUR)
    await mesh.tell()
    assert (await mesh.books.earnings(creator_ref)).frozen


async def test_two_replicas_tell_the_same_and_it_is_done_once(mesh: Mesh) -> None:
    await mesh.rich("creator")
    await mesh.desk.suspend("creator")
    await mesh.desk.stub.ConfirmFraud(pb.ConfirmFraudRequest(**mesh.desk.order("creator", "oleg")))
    await asyncio.gather(*(mesh.tell() for _ in range(3)))
    assert await mesh.books.balance("platform:forfeited") == 2 * DOLLAR
    [row] = await mesh.desk.referral.rows("SELECT forfeited_micro, round FROM standing_enforcements")
    assert (row["forfeited_micro"], row["round"]) == (2 * DOLLAR, 2)


async def test_a_freeze_that_arrives_after_the_reinstatement_changes_nothing(mesh: Mesh) -> None:
    """Two replicas: one hangs with the old order in its hands while the other one tells the new order."""
    creator_ref = await mesh.rich("creator")
    await mesh.desk.suspend("creator")
    await mesh.desk.stub.ReinstateAccount(pb.ReinstateAccountRequest(**mesh.desk.order("creator")))
    await mesh.tell()
    late = treasury_pb2.FreezeEarningsRequest(account_ref=creator_ref, standing_revision=1, reason="OVERRIDDEN")
    answer = await mesh.doors.treasury.FreezeEarnings(late)
    assert (answer.freeze.frozen, answer.freeze.standing_revision) == (False, 2)
    await mesh.hold(creator_ref)


async def test_an_order_that_took_the_place_of_another_while_it_was_told_is_told_too(mesh: Mesh) -> None:
    creator_ref = await mesh.rich("creator")
    await mesh.desk.suspend("creator")

    async def reinstated_meanwhile() -> None:
        await mesh.desk.stub.ReinstateAccount(pb.ReinstateAccountRequest(**mesh.desk.order("creator")))

    mesh.line.meanwhile = reinstated_meanwhile
    await mesh.tell()
    assert await mesh.untold() == ["unfreeze"]
    mesh.line.meanwhile = None
    await mesh.tell()
    assert await mesh.untold() == []
    assert not (await mesh.books.earnings(creator_ref)).frozen


async def test_whatever_order_the_calls_come_in_the_newest_standing_counts(mesh: Mesh) -> None:
    creator_ref = await mesh.rich("creator")
    clock: ManualClock = mesh.desk.clock
    for turn in range(6):
        if turn % 2:
            await mesh.desk.stub.ReinstateAccount(pb.ReinstateAccountRequest(**mesh.desk.order("creator")))
        else:
            await mesh.desk.suspend("creator")
        mesh.line.lost = {"FreezeEarnings", "UnfreezeEarnings"} if turn in {1, 2, 4} else set()
        await mesh.tell()
        clock.advance(HOUR)
    mesh.line.lost = set()
    await mesh.tell()
    assert not (await mesh.books.earnings(creator_ref)).frozen
    assert (await mesh.desk.stands("creator")) == ("good", 6)
