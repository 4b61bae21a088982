"""Every difference between three accounts of the payouts: the provider's rows, our attempts, the ledger's holds."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.payout.model import Stage
from services.payout.model.reconciliations import Found, Hold, HoldState, Kind, OurPayout
from services.payout.model.submissions import LIVE, Attempt, AttemptState
from services.payout.provider.rows import Row, Standing

SETTLING: Final = timedelta(minutes=30)
"""What changed so recently may still be on its way to the ledger, or to the provider's list."""


_EXPECTED: Final[Mapping[Stage, frozenset[HoldState]]] = {
    Stage.REQUESTED: frozenset({HoldState.HELD}),
    Stage.AWAITING_CONFIRMATION: frozenset({HoldState.HELD}),
    Stage.AWAITING_APPROVAL: frozenset({HoldState.HELD}),
    Stage.QUEUED: frozenset({HoldState.HELD}),
    Stage.SUBMITTING: frozenset({HoldState.HELD, HoldState.BURNED}),
    Stage.COMPLETED: frozenset({HoldState.COMPLETED}),
    Stage.FAILED: frozenset({HoldState.FAILED, HoldState.RETURNED}),
    Stage.CANCELLED: frozenset({HoldState.RETURNED}),
    Stage.DECLINED: frozenset({HoldState.RETURNED}),
}
_AGREE: Final[Mapping[AttemptState, frozenset[Standing]]] = {
    AttemptState.FINISHED: frozenset({Standing.FINISHED}),
    AttemptState.REJECTED: frozenset({Standing.REJECTED}),
    AttemptState.CANCELLED: frozenset({Standing.CANCELLED}),
}
NOT_SENT: Final = frozenset(set(Standing) - {Standing.FINISHED})


def with_provider(rows: Sequence[Row], attempts: Iterable[Attempt], now: datetime, since: datetime) -> list[Found]:
    """What the provider lists that is not ours, what is ours that it does not list, and states that disagree."""
    by_id = {row.unique_external_id: row for row in rows if row.unique_external_id}
    ours = {attempt.unique_external_id: attempt for attempt in attempts}
    found = [_unknown(row) for row in rows if row.unique_external_id not in ours]
    for attempt in ours.values():
        row = by_id.get(attempt.unique_external_id)
        if row is None:
            found += _missing(attempt, now, since)
        else:
            found += _states(attempt, row) + _content(attempt, row)
    return found


def _unknown(row: Row) -> Found:
    words = f"{row.word} {row.amount} {row.currency}"
    explanation = (
        "The provider has a payout that this service never sent: another user of the account, or a lost backup."
    )
    return Found(Kind.UNKNOWN_AT_OURS, None, row.provider_id, words, "nothing", explanation)


def _missing(attempt: Attempt, now: datetime, since: datetime) -> list[Found]:
    made = attempt.created_at or (attempt.checked_at and attempt.prepared_at)
    if made is None or not attempt.batch_id or not since <= made < now - SETTLING:
        return []
    words = f"{attempt.state.name} {attempt.provider_state}"
    explanation = (
        "The provider answered for this batch once and does not list it now: ask its support with the batch id."
    )
    return [
        Found(Kind.MISSING_AT_PROVIDER, attempt.payout_id, attempt.provider_payout_id, "nothing", words, explanation)
    ]


def _states(attempt: Attempt, row: Row) -> list[Found]:
    agrees = row.standing in _AGREE.get(attempt.state, NOT_SENT if attempt.state not in LIVE else frozenset(Standing))
    if agrees:
        return []
    ours = attempt.state.name
    explanation = (
        "The attempt is over with another outcome than the provider gives now: nothing is sent again by itself."
    )
    return [Found(Kind.STATE, attempt.payout_id, row.provider_id, row.word, ours, explanation)]


def _content(attempt: Attempt, row: Row) -> list[Found]:
    if row.amount == attempt.amount:
        return []
    explanation = "The provider's amount is not the one that was asked for."
    theirs, ours = f"{row.amount} {row.currency}", f"{attempt.amount}"
    return [Found(Kind.CONTENT, attempt.payout_id, row.provider_id, theirs, ours, explanation)]


def with_ledger(holds: Iterable[Hold], payouts: Mapping[UUID, OurPayout], now: datetime) -> list[Found]:
    """Holds that stand otherwise than the payout says, once both had time to settle."""
    latest: dict[UUID, Hold] = {}
    for hold in holds:
        if hold.payout_id not in latest or latest[hold.payout_id].round < hold.round:
            latest[hold.payout_id] = hold
    found: list[Found] = []
    for payout_id, hold in latest.items():
        found += _ledger(hold, payouts.get(payout_id), now)
    return found


def _ledger(hold: Hold, payout: OurPayout | None, now: datetime) -> list[Found]:
    theirs = f"round {hold.round} {hold.state.name} {hold.amount_micro}"
    if payout is None:
        explanation = (
            "The ledger holds money for a payout that is not here: a restored backup, or another service's call."
        )
        return [Found(Kind.LEDGER, hold.payout_id, "", theirs, "nothing", explanation)]
    if now - payout.changed_at < SETTLING or payout.round > hold.round:
        return []
    stage = Stage(payout.stage)
    ours = f"round {payout.round} {stage.name} {payout.amount_micro}"
    fits = (
        hold.state in _EXPECTED.get(stage, frozenset({HoldState.BURNED})) and hold.amount_micro == payout.amount_micro
    )
    sent = hold.sent_micro == payout.amount_micro - payout.fee_micro and hold.fee_micro == payout.fee_micro
    if fits and (hold.state is not HoldState.COMPLETED or sent):
        return []
    explanation = (
        "Payout and ledger disagree for longer than a call between them takes; the ledger's books are the truth."
    )
    return [Found(Kind.LEDGER, hold.payout_id, "", theirs, ours, explanation)]


class Sent(NamedTuple):
    """What was sent, in micro-dollars, as the provider and as the ledger has it."""

    provider_micro: int
    ledger_micro: int


def sent(
    rows: Iterable[Row], attempts: Iterable[Attempt], holds: Iterable[Hold], payouts: Mapping[UUID, OurPayout]
) -> Sent:
    """Sum up what the provider sent of ours, at the prices agreed, beside what the ledger has as sent through it.

    What is on its way from one to the other, because the ledger has burned it and not heard yet that it arrived, is in
    neither, and what operators paid by hand is no business of the provider's. A difference is found above, not here.
    """
    by_id = {row.unique_external_id: row for row in rows if row.standing is Standing.FINISHED}
    held = {(hold.payout_id, hold.round): hold for hold in holds}
    provider_micro = ledger_micro = 0
    for attempt in attempts:
        row, hold = by_id.get(attempt.unique_external_id), held.get((attempt.payout_id, attempt.round))
        if row and attempt.payout_id in payouts and not (hold and hold.state is HoldState.BURNED):
            payout = payouts[attempt.payout_id]
            provider_micro += int((payout.amount_micro - payout.fee_micro) * row.amount // attempt.amount)
        if hold and attempt.state is AttemptState.FINISHED:
            ledger_micro += hold.sent_micro
    return Sent(provider_micro, ledger_micro)
