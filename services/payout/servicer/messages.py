"""Payouts and what belongs to them as messages."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from libs.timestamps import to_timestamp
from protos.payout.v1 import admin_pb2, events_pb2, payout_pb2
from services.payout.model import Stage
from services.payout.model.destinations import Destination
from services.payout.model.payouts import Change, Payout
from services.payout.model.proposals import Approval, Proposal
from services.payout.model.submissions import Attempt
from services.payout.rules.approvals import is_retryable
from services.payout.rules.confirmations import Challenge
from services.payout.store.prices import Quote

_UNCONFIRMED = frozenset({Stage.REQUESTED, Stage.AWAITING_CONFIRMATION})


def payout(found: Payout, challenge: Challenge | None = None, *, listed: bool = False) -> payout_pb2.Payout:
    """A payout as its owner sees it; in lists without the text to sign."""
    asked = challenge if found.stage in _UNCONFIRMED and found.confirmed_at is None else None
    return payout_pb2.Payout(
        payout_id=str(found.payout_id),
        state=events_pb2.PayoutState.ValueType(found.stage.state),
        stage=events_pb2.PayoutStage.ValueType(found.stage),
        reason=found.reason,
        amount_micro=found.amount_micro,
        fee_micro=found.fee_micro,
        net_micro=found.net_micro,
        fee_final=found.fee_final,
        currency=found.currency,
        destination_address=found.address or "",
        memo=found.memo or "",
        sent_amount=_decimal(found.sent_amount),
        transaction_hash=found.transaction_hash,
        round=found.round,
        retryable=is_retryable(found),
        confirmation=confirmation(asked, listed=listed) if asked else None,
        revision=found.revision,
        requested_at=to_timestamp(found.requested_at),
        changed_at=to_timestamp(found.changed_at),
    )


def confirmation(challenge: Challenge, *, listed: bool = False) -> payout_pb2.Confirmation:
    """What an owner has to do."""
    return payout_pb2.Confirmation(
        method=payout_pb2.ConfirmationMethod.ValueType(challenge.method),
        text="" if listed else challenge.text,
        expires_at=to_timestamp(challenge.expires_at),
    )


def change(found: Change) -> payout_pb2.PayoutChange:
    """One change of a payout's stage."""
    return payout_pb2.PayoutChange(
        revision=found.revision,
        state=events_pb2.PayoutState.ValueType(found.stage.state),
        stage=events_pb2.PayoutStage.ValueType(found.stage),
        reason=found.reason,
        round=found.round,
        changed_at=to_timestamp(found.changed_at),
    )


def quote(found: Quote) -> payout_pb2.Quote:
    """What a payout would bring."""
    return payout_pb2.Quote(
        quote_id=str(found.quote_id),
        amount_micro=found.amount_micro,
        fee_micro=found.fee_micro,
        net_micro=found.amount_micro - found.fee_micro,
        currency=found.currency,
        net_amount=_decimal(found.net_amount),
        expires_at=to_timestamp(found.expires_at),
    )


def destination(found: Destination) -> payout_pb2.Destination:
    """An address of an account."""
    return payout_pb2.Destination(
        destination_id=str(found.destination_id),
        address=found.address,
        currency=found.currency,
        memo=found.memo,
        state=events_pb2.DestinationState.ValueType(found.state),
        added_at=to_timestamp(found.added_at),
        confirmed_at=_instant(found.confirmed_at),
        usable_from=_instant(found.usable_from),
    )


def record(
    found: Payout, account_id: str | None, approvals: Sequence[Approval], promise: timedelta
) -> admin_pb2.PayoutRecord:
    """A payout as operators see it."""
    return admin_pb2.PayoutRecord(
        payout=payout(found, listed=True),
        account_ref=str(found.account_ref),
        account_id=account_id or "",
        cumulative_micro=found.cumulative_micro,
        approvals_needed=found.approvals_needed,
        approvals=[
            admin_pb2.PayoutApproval(
                operator_id=each.operator_id, reason=each.reason, approved_at=to_timestamp(each.approved_at)
            )
            for each in approvals
        ],
        approval_reasons=found.approval_reasons,
        promised_by=to_timestamp(found.requested_at + promise),
    )


def submission(found: Attempt) -> admin_pb2.Submission:
    """One attempt to hand a payout to the provider."""
    return admin_pb2.Submission(
        attempt=found.attempt,
        round=found.round,
        unique_external_id=found.unique_external_id,
        batch_id=found.batch_id,
        provider_payout_id=found.provider_payout_id,
        provider_state=found.provider_state,
        amount=_decimal(found.amount),
        fee=_decimal(found.fee),
        transaction_hash=found.transaction_hash,
        created_at=_instant(found.created_at),
        verified_at=_instant(found.verified_at),
        checked_at=_instant(found.checked_at),
    )


def proposal(found: Proposal) -> admin_pb2.Proposal:
    """Something that needs two operators."""
    return admin_pb2.Proposal(
        proposal_id=str(found.proposal_id),
        payout_id=str(found.payout_id),
        kind=admin_pb2.ProposalKind.ValueType(found.kind),
        state=admin_pb2.ProposalState.ValueType(found.state),
        proof=found.proof,
        sent_micro=found.sent_micro,
        fee_micro=found.fee_micro,
        proposed_by=found.proposed_by,
        decided_by=found.decided_by or "",
        reason=found.reason,
        proposed_at=to_timestamp(found.proposed_at),
        decided_at=_instant(found.decided_at),
    )


def _decimal(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _instant(moment: datetime | None) -> Timestamp | None:
    return to_timestamp(moment) if moment else None
