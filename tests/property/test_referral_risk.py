"""Scores and sanctions, whatever the numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.referral.model import Standing, StandingRecord
from services.referral.model.audit import Act, AuditRow
from services.referral.model.risk import Client, Signal, Weight, Weights, WeightsState
from services.referral.model.standings import Tally
from services.referral.rules import audit, risk, signals, standings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORDER = list(Standing)

weights = st.builds(
    Weight,
    cap=st.integers(0, 10_000),
    divisor=st.integers(1, risk.MAX_DIVISOR),
    factor_bps=st.integers(0, 10_000),
)
versions = st.builds(
    Weights,
    version=st.just(1),
    state=st.just(WeightsState.ACTIVE),
    weights=st.tuples(weights, weights, weights, weights),
    flagged_from=st.just(3000),
    urgent_from=st.just(7000),
    proposed_by=st.just("a"),
    reason=st.just("b"),
    proposed_at=st.just(NOW),
)
observations = st.dictionaries(st.sampled_from(Signal), st.integers(-5, 10**12))
acts = st.builds(
    Act,
    act=st.text(max_size=5),
    subject=st.text(st.characters(codec="utf-8"), max_size=5),
    account_ref=st.none() | st.uuids(),
    operator_id=st.text(st.characters(codec="utf-8"), max_size=5),
    reason=st.text(st.characters(codec="utf-8"), max_size=5),
    acted_at=st.just(NOW),
)


@given(versions, observations)
def test_a_score_is_bounded_and_each_part_is_capped(version: Weights, observed: Mapping[Signal, int]) -> None:
    score = risk.score(version, observed)
    assert 0 <= score.score <= 10_000
    assert all(0 <= part <= weight.cap for part, weight in zip(score.points, version.weights, strict=True))


@given(versions, observations, st.sampled_from(Signal), st.integers(0, 10**6))
def test_more_of_a_signal_never_lowers_a_score(
    version: Weights, observed: dict[Signal, int], signal: Signal, more: int
) -> None:
    worse = observed | {signal: max(0, observed.get(signal, 0)) + more}
    assert risk.score(version, worse).score >= risk.score(version, observed).score


@given(st.integers(0, 10_000), st.data())
def test_one_more_flagged_referral_never_makes_a_standing_milder(referrals: int, data: st.DataObject) -> None:
    flagged = data.draw(st.integers(0, max(0, referrals - 1)))
    milder, harsher = (standings.by_share(Tally(referrals, count)) for count in (flagged, flagged + 1))
    assert ORDER.index(milder) <= ORDER.index(harsher)


@given(
    standing=st.sampled_from(Standing),
    by_hand=st.booleans(),
    referrals=st.integers(0, 100),
    flagged=st.integers(0, 100),
)
def test_no_share_lifts_a_suspension_or_confirms_fraud(
    standing: Standing, *, by_hand: bool, referrals: int, flagged: int
) -> None:
    after = standings.automatic(StandingRecord(standing, by_hand=by_hand), Tally(referrals, min(flagged, referrals)))
    if standing in {Standing.SUSPENDED, Standing.FORFEITED}:
        assert after is standing
    assert (after is Standing.FORFEITED) == (standing is Standing.FORFEITED)


@given(st.text(), st.text(), st.text(), st.text(min_size=1))
def test_whatever_a_request_looks_like_it_has_hashes_of_a_fixed_size(ip: str, agent: str, mark: str, key: str) -> None:
    seen = signals.hashes(Client(ip, agent, mark), [signals.key_of(key)])
    assert all(len(each.hash) == 16 for each in seen)
    assert len({each.kind for each in seen}) == len(seen) <= 4


@given(st.lists(acts, min_size=1, max_size=6), st.data())
def test_no_row_of_the_chain_can_be_changed_left_out_or_moved(made: list[Act], data: st.DataObject) -> None:
    rows: list[AuditRow] = []
    head = audit.EMPTY
    for act in made:
        rows.append(audit.chained(head, act))
        _, head = audit.broken_at(head, rows[-1:])
    assert audit.broken_at(audit.EMPTY, rows) == (None, head)
    place = data.draw(st.integers(0, len(rows) - 1))
    forged = AuditRow(rows[place].sequence, data.draw(acts), rows[place].hash)
    if forged != rows[place]:
        assert audit.broken_at(audit.EMPTY, [*rows[:place], forged, *rows[place + 1 :]])[0] == place + 1
    if place < len(rows) - 1:
        assert audit.broken_at(audit.EMPTY, rows[:place] + rows[place + 1 :])[0] == place + 1
