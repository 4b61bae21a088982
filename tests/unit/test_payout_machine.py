"""The machine of payouts, as one table: everything that is not in it is refused."""

import itertools

import pytest

from services.payout.model import Event, Stage, State
from services.payout.rules.machine import TABLE, IllegalMove, after

S, E = Stage, Event

LEGAL = {
    (S.REQUESTED, E.CONFIRMATION_NEEDED): S.AWAITING_CONFIRMATION,
    (S.REQUESTED, E.APPROVAL_NEEDED): S.AWAITING_APPROVAL,
    (S.REQUESTED, E.READY): S.QUEUED,
    (S.REQUESTED, E.HOLD_REFUSED): S.FAILED,
    (S.REQUESTED, E.CANCEL): S.CANCELLED,
    (S.AWAITING_CONFIRMATION, E.APPROVAL_NEEDED): S.AWAITING_APPROVAL,
    (S.AWAITING_CONFIRMATION, E.READY): S.QUEUED,
    (S.AWAITING_CONFIRMATION, E.CANCEL): S.CANCELLED,
    (S.AWAITING_APPROVAL, E.READY): S.QUEUED,
    (S.AWAITING_APPROVAL, E.CANCEL): S.CANCELLED,
    (S.AWAITING_APPROVAL, E.DECLINE): S.DECLINED,
    (S.QUEUED, E.SUBMIT): S.SUBMITTING,
    (S.QUEUED, E.CANCEL): S.CANCELLED,
    (S.SUBMITTING, E.PUT_BACK): S.QUEUED,
    (S.SUBMITTING, E.ACCEPT): S.PROCESSING,
    (S.SUBMITTING, E.REJECT): S.REJECTED,
    (S.SUBMITTING, E.LOSE): S.UNKNOWN,
    (S.PROCESSING, E.REJECT): S.REJECTED,
    (S.PROCESSING, E.STALL): S.STALLED,
    (S.PROCESSING, E.COMPLETE): S.COMPLETED,
    (S.PROCESSING, E.FAIL): S.FAILED,
    (S.REJECTED, E.SUBMIT_AGAIN): S.SUBMITTING,
    (S.REJECTED, E.ACCEPT): S.PROCESSING,
    (S.REJECTED, E.FAIL): S.FAILED,
    (S.UNKNOWN, E.ACCEPT): S.PROCESSING,
    (S.UNKNOWN, E.REJECT): S.REJECTED,
    (S.UNKNOWN, E.STALL): S.STALLED,
    (S.UNKNOWN, E.COMPLETE): S.COMPLETED,
    (S.UNKNOWN, E.FAIL): S.FAILED,
    (S.STALLED, E.COMPLETE): S.COMPLETED,
    (S.STALLED, E.FAIL): S.FAILED,
    (S.FAILED, E.RETRY): S.REQUESTED,
}


@pytest.mark.parametrize(("stage", "event"), list(itertools.product(Stage, Event)), ids=lambda each: each.name)
def test_what_happens_where_is_what_the_table_says_or_is_refused(stage: Stage, event: Event) -> None:
    expected = LEGAL.get((stage, event))
    if expected is None:
        with pytest.raises(IllegalMove):
            after(stage, event)
    else:
        assert after(stage, event) is expected


def test_the_public_state_never_goes_back_but_by_a_retry_or_where_the_ledger_says_not_now() -> None:
    back = {
        (stage, event)
        for (stage, event), to in TABLE.items()
        if to.state < stage.state and not (stage.state is State.PROCESSING and to.state is State.PROCESSING)
    }
    assert back == {(S.FAILED, E.RETRY), (S.SUBMITTING, E.PUT_BACK)}


def test_nothing_happens_to_what_was_sent() -> None:
    assert not [event for event in Event if (Stage.COMPLETED, event) in TABLE]
