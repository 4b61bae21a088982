"""Scores, hashes and sanctions as tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from libs.refusals import Refusal
from services.referral.model import Kind, Registration, Standing, StandingRecord
from services.referral.model.audit import Act
from services.referral.model.bonuses import ActionKind, ActionSource, Bonus, BonusState, Budget, ClearedBy
from services.referral.model.review import Case, CaseState, Finding, Subject
from services.referral.model.risk import Assessment, Client, RiskVerdict, Score, Signal, SignalKind, Weight, Weights
from services.referral.model.risk import WeightsState as State
from services.referral.model.standings import Enforcement, Tally
from services.referral.rules import audit, review, risk, signals, standings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
A, B, C = (UUID(int=number) for number in (1, 2, 3))
WEIGHTS = Weights(
    1,
    State.ACTIVE,
    (Weight(3000, 3, 10_000), Weight(2500, 2, 10_000), Weight(2500, 5, 10_000), Weight(2000, 1, 8_000)),
    3000,
    7000,
    "design",
    "The launch.",
    NOW,
)


@pytest.mark.parametrize(
    ("ip", "fingerprint", "velocity", "unpaid", "points", "flagged", "urgent"),
    [
        (0, 0, 0, 0, (0, 0, 0, 0), False, False),
        (0, 0, 1, 0, (0, 0, 500, 0), False, False),
        (1, 0, 0, 0, (1000, 0, 0, 0), False, False),
        (2, 0, 1, 0, (2000, 0, 500, 0), False, False),
        (3, 0, 0, 0, (3000, 0, 0, 0), True, False),
        (900, 0, 0, 0, (3000, 0, 0, 0), True, False),
        (0, 1, 0, 0, (0, 1250, 0, 0), False, False),
        (0, 2, 1, 0, (0, 2500, 500, 0), True, False),
        (0, 0, 5, 0, (0, 0, 2500, 0), False, False),
        (0, 0, 5, 1, (0, 0, 2500, 1600), True, False),
        (1, 1, 1, 0, (1000, 1250, 500, 0), False, False),
        (3, 2, 3, 0, (3000, 2500, 1500, 0), True, True),
        (9, 9, 9, 9, (3000, 2500, 2500, 1600), True, True),
    ],
)  # fmt: skip
def test_a_score_is_the_sum_of_its_capped_parts(
    ip: int, fingerprint: int, velocity: int, unpaid: int, points: tuple[int, ...], *, flagged: bool, urgent: bool
) -> None:
    observed = dict(zip(Signal, (ip, fingerprint, velocity, unpaid), strict=True))
    score = risk.score(WEIGHTS, observed)
    assert (score.points, score.flagged, score.urgent) == (points, flagged, urgent)
    assert score.score == sum(points)
    assert score.observed == (ip, fingerprint, velocity, unpaid)


def test_only_what_is_beyond_the_network_sanctions() -> None:
    assert not risk.score(WEIGHTS, {Signal.IP_CLUSTER: 9, Signal.VELOCITY: 9}).beyond_network
    assert risk.score(WEIGHTS, {Signal.IP_CLUSTER: 9, Signal.NO_PAID_ACTIVITY: 1}).beyond_network
    assert risk.score(WEIGHTS, {Signal.FINGERPRINT: 1}).beyond_network


@pytest.mark.parametrize(
    ("age", "paid_after", "unpaid"),
    [
        (7 * DAY - HOUR, None, False),
        (7 * DAY, None, True),
        (8 * DAY, 7 * DAY, False),
        (8 * DAY, 7 * DAY + HOUR, True),
        (30 * DAY, HOUR, False),
    ],
)
def test_a_week_without_pay_counts_once_it_is_over(
    age: timedelta, paid_after: timedelta | None, *, unpaid: bool
) -> None:
    paid_at = NOW + paid_after if paid_after is not None else None
    assert risk.had_no_paid_activity(NOW, paid_at, NOW + age) is unpaid


@pytest.mark.parametrize(
    ("referrals", "flagged", "standing"),
    [
        (0, 0, Standing.GOOD),
        (4, 4, Standing.GOOD),
        (5, 1, Standing.GOOD),
        (5, 2, Standing.WARNED),
        (5, 3, Standing.SUSPENDED),
        (8, 2, Standing.GOOD),
        (100, 25, Standing.GOOD),
        (100, 26, Standing.WARNED),
        (100, 40, Standing.WARNED),
        (100, 41, Standing.BONUSES_ON_HOLD),
        (100, 50, Standing.BONUSES_ON_HOLD),
        (100, 51, Standing.SUSPENDED),
        (5, 5, Standing.SUSPENDED),
    ],
)
def test_sanctions_follow_the_share_of_flagged_referrals(referrals: int, flagged: int, standing: Standing) -> None:
    assert standings.by_share(Tally(referrals, flagged)) is standing


@pytest.mark.parametrize(
    ("before", "by_hand", "flagged", "after"),
    [
        (Standing.WARNED, False, 0, Standing.GOOD),
        (Standing.BONUSES_ON_HOLD, False, 30, Standing.WARNED),
        (Standing.GOOD, False, 60, Standing.SUSPENDED),
        (Standing.SUSPENDED, False, 0, Standing.SUSPENDED),
        (Standing.FORFEITED, True, 0, Standing.FORFEITED),
        (Standing.WARNED, True, 0, Standing.WARNED),
        (Standing.WARNED, True, 45, Standing.BONUSES_ON_HOLD),
        (Standing.GOOD, True, 30, Standing.WARNED),
    ],
)
def test_what_an_operator_set_the_share_only_makes_harsher(
    before: Standing, *, by_hand: bool, flagged: int, after: Standing
) -> None:
    assert standings.automatic(StandingRecord(before, by_hand=by_hand), Tally(100, flagged)) is after


@pytest.mark.parametrize(
    ("before", "after", "act"),
    [
        (Standing.GOOD, Standing.WARNED, None),
        (Standing.WARNED, Standing.SUSPENDED, Enforcement.FREEZE),
        (Standing.SUSPENDED, Standing.SUSPENDED, None),
        (Standing.SUSPENDED, Standing.WARNED, Enforcement.UNFREEZE),
        (Standing.SUSPENDED, Standing.FORFEITED, Enforcement.FORFEIT),
    ],
)
def test_distribution_is_told_of_what_touches_money(before: Standing, after: Standing, act: Enforcement | None) -> None:
    assert standings.enforcement(before, after) is act


@pytest.mark.parametrize(
    ("record", "operator_id", "reason"),
    [
        (StandingRecord(Standing.SUSPENDED, changed_by="olga", by_hand=True), "oleg", None),
        (StandingRecord(Standing.SUSPENDED, changed_by="olga", by_hand=True), "olga", "FRAUD_NEEDS_SECOND"),
        (StandingRecord(Standing.SUSPENDED, changed_by="olga", by_hand=True), " Olga", "FRAUD_NEEDS_SECOND"),
        (StandingRecord(Standing.SUSPENDED, changed_by="job:sanctions"), "olga", None),
        (StandingRecord(Standing.BONUSES_ON_HOLD), "olga", "ACCOUNT_NOT_SUSPENDED"),
        (StandingRecord(Standing.FORFEITED), "olga", "STANDING_FINAL"),
    ],
)
def test_who_may_confirm_fraud_and_of_whom(record: StandingRecord, operator_id: str, reason: str | None) -> None:
    if reason is None:
        standings.check_fraud(record, operator_id)
        return
    with pytest.raises(Refusal) as refusal:
        standings.check_fraud(record, operator_id)
    assert refusal.value.reason == reason


def test_distribution_is_left_alone_ever_longer_and_never_longer_than_five_minutes() -> None:
    waits = [standings.retry_after(tries).total_seconds() for tries in range(9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


SCORE = Score(1, 4000, (3, 0, 2, 0), (3000, 0, 1000, 0), flagged=True, urgent=False)
ASSESSED = Assessment(A, B, SCORE, None, exempt=False)
CLEAN = replace(ASSESSED, score=replace(SCORE, flagged=False))


@pytest.mark.parametrize(
    ("assessment", "standing", "subjects", "reason"),
    [
        (CLEAN, Standing.GOOD, [], None),
        (CLEAN, Standing.WARNED, [], None),
        (ASSESSED, Standing.GOOD, [], "FLAGGED"),
        (replace(ASSESSED, verdict=RiskVerdict.CLEARED), Standing.GOOD, [], None),
        (replace(CLEAN, verdict=RiskVerdict.CONFIRMED), Standing.GOOD, [], "CONFIRMED"),
        (replace(ASSESSED, exempt=True), Standing.GOOD, [], None),
        (replace(ASSESSED, exempt=True), Standing.BONUSES_ON_HOLD, [], None),
        (replace(ASSESSED, exempt=True), Standing.SUSPENDED, [], "REFERRER_SUSPENDED"),
        (CLEAN, Standing.BONUSES_ON_HOLD, [], "REFERRER_ON_HOLD"),
        (CLEAN, Standing.FORFEITED, [], "REFERRER_SUSPENDED"),
        (CLEAN, Standing.GOOD, [Subject.REGISTRATION], "FLAGGED"),
        (replace(CLEAN, verdict=RiskVerdict.CLEARED), Standing.GOOD, [Subject.SHARED_ADDRESS], "SHARED_ADDRESS"),
    ],
)
def test_what_speaks_against_a_bonus(
    assessment: Assessment, standing: Standing, subjects: list[Subject], reason: str | None
) -> None:
    assert risk.objection(assessment, standing, subjects) == reason


def bound(referee: UUID, referrer: UUID, at: datetime = NOW) -> Registration:
    return Registration(referee, Kind.REFERRED, at, referrer, UUID(int=9))


@pytest.mark.parametrize(
    ("mine", "theirs", "questioned"),
    [
        (None, None, None),
        (bound(A, B), None, A),
        (None, bound(B, A), B),
        (bound(A, C), bound(B, C, NOW + HOUR), B),
        (bound(A, C, NOW + HOUR), bound(B, C), A),
        (bound(A, C), bound(B, UUID(int=8)), None),
        (bound(A, C), None, None),
    ],
)
def test_a_shared_address_questions_a_referral_where_there_is_one(
    mine: Registration | None, theirs: Registration | None, questioned: UUID | None
) -> None:
    found = risk.questioned(A, mine, B, theirs)
    assert (found.referee_ref if found else None) == questioned


def test_a_hash_depends_on_its_key_and_its_kind() -> None:
    one, other = signals.key_of("one"), signals.key_of("other")
    client = Client("203.0.113.7", "same", "same")
    seen = signals.hashes(client, [one, other])
    assert len({each.hash for each in seen}) == 8
    assert one.key_id != other.key_id
    assert b"one" not in one.secret


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", " 203.0.113.7 ", {SignalKind.IP, SignalKind.PREFIX}),
        ("203.0.113.7", "::ffff:203.0.113.7", {SignalKind.IP, SignalKind.PREFIX}),
        ("203.0.113.7", "203.0.113.8", {SignalKind.PREFIX}),
        ("203.0.113.7", "203.0.114.7", set()),
        ("2001:db8::1", "2001:db8::ffff:1%eth0", {SignalKind.IP, SignalKind.PREFIX}),
        ("2001:db8::1", "2001:db8:0:1::1", set()),
        ("203.0.113.7", "unknown", set()),
    ],
)
def test_what_two_addresses_have_in_common(one: str, other: str, same: set[SignalKind]) -> None:
    key = [signals.key_of("key")]
    first, second = ({(each.kind, each.hash) for each in signals.hashes(Client(ip), key)} for ip in (one, other))
    assert {kind for kind, _ in first & second} == same


def test_a_case_that_grows_worse_keeps_its_clock() -> None:
    found = Finding(Subject.REGISTRATION, B, A, 4000, urgent=False, related_refs=(C,))
    case = Case(UUID(int=5), found, CaseState.OPEN, NOW, review.due_at(NOW, urgent=False))
    worse = review.merged(case, replace(found, risk_score=8000, urgent=True, related_refs=(A,)))
    assert (worse.finding.risk_score, worse.finding.urgent, worse.due_at) == (8000, True, NOW + DAY)
    assert worse.finding.related_refs == (A, C)
    milder = review.merged(worse, found)
    assert (milder.finding.risk_score, milder.finding.urgent, milder.due_at) == (8000, True, NOW + DAY)


def test_a_bonus_is_held_back_only_while_it_can_be() -> None:
    pending = Bonus(UUID(int=1), A, B, ActionSource.BILLING, ActionKind.DNFT_MINT, "x", 1, NOW, NOW, NOW)
    assert review.withheld(pending, "X", NOW) is pending
    cleared = replace(
        pending, budget=Budget.RESERVED, checked_at=NOW, flagged=False, cleared_at=NOW, cleared_by=ClearedBy.CHECKS
    )
    held = review.withheld(cleared, "X", NOW)
    assert (held.state, held.reason, held.cleared_at, held.flagged) == (BonusState.WITHHELD, "X", None, True)
    sent = replace(cleared, sent_at=NOW)
    assert review.withheld(sent, "X", NOW) is sent
    granted = replace(cleared, state=BonusState.GRANTED, budget=Budget.GRANTED, lot_id=A)
    assert review.withheld(granted, "X", NOW) is granted


def test_no_two_acts_hash_alike_however_their_fields_are_cut() -> None:
    act = Act("ACT", "ab", None, "c", "d", NOW)
    others = [
        replace(act, subject="a", operator_id="bc"),
        replace(act, operator_id="cd", reason=""),
        replace(act, account_ref=A),
        replace(act, acted_at=NOW + timedelta(microseconds=1)),
    ]
    assert len({audit.chained(audit.EMPTY, each).hash for each in [act, *others]}) == 5
