"""Payouts: approvals, what got stuck, payouts by hand, reconciliation, the provider's callbacks."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.payout.v1 import admin_pb2

_PAYOUTS = Area(
    "payouts",
    "Operators: payouts",
    "payout_admin",
    admin_pb2.DESCRIPTOR.services_by_name["PayoutAdminService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "PAYOUT_ID_INVALID PAYOUT_ACCOUNT_INVALID PAYOUT_FILTER_INVALID PAYOUT_NAME_INVALID "
            "PAYOUT_ORDER_INVALID PAYOUT_PAGE_INVALID PROOF_INVALID SENT_MISMATCH "
            "PROVIDER_ID_INVALID PROVIDER_PAGE_INVALID REQUEST_ID_INVALID"
        ),
        HTTPStatus.FORBIDDEN: "APPROVER_IS_OWNER DECIDER_IS_PROPOSER",
        HTTPStatus.NOT_FOUND: (
            "PAYOUT_UNKNOWN PROPOSAL_UNKNOWN RECONCILIATION_UNKNOWN DIFFERENCE_UNKNOWN CALLBACK_UNKNOWN"
        ),
        HTTPStatus.CONFLICT: (
            "ALREADY_APPROVED NOT_AWAITING_APPROVAL PAYOUT_NOT_CANCELLABLE NOT_RESOLVABLE NOT_SENT_BY_HAND "
            "MAY_BE_AT_PROVIDER NOTHING_WAS_VERIFIED PROPOSAL_DECIDED PROPOSAL_OPEN ILLEGAL_MOVE"
        ),
    },
)

ROUTES = (
    _PAYOUTS.get("/payouts", "ListPayoutRecords"),
    _PAYOUTS.get("/payouts/{payout_id}", "GetPayoutRecord"),
    _PAYOUTS.act("/payouts/{payout_id}/approve", "ApprovePayout"),
    _PAYOUTS.act("/payouts/{payout_id}/decline", "DeclinePayout"),
    _PAYOUTS.act("/payouts/{payout_id}/stop", "StopPayout"),
    _PAYOUTS.act("/payouts/{payout_id}/recheck", "RecheckPayout"),
    _PAYOUTS.act("/payouts/{payout_id}/resolution", "ProposeResolution", optional=("sent_micro", "fee_micro")),
    _PAYOUTS.act("/payouts/{payout_id}/by-hand", "ProposeManualPayout"),
    _PAYOUTS.act("/early-requests", "AllowEarlyRequest"),
    _PAYOUTS.get("/proposals", "ListProposals"),
    _PAYOUTS.act("/proposals/{proposal_id}/decide", "DecideProposal"),
    _PAYOUTS.act("/proposals/{proposal_id}/sent", "RecordManualPayout"),
    _PAYOUTS.get("/reconciliations", "ListReconciliations"),
    _PAYOUTS.act("/reconciliations", "RunReconciliation"),
    _PAYOUTS.get("/reconciliations/{reconciliation_id}", "GetReconciliation"),
    _PAYOUTS.get("/differences", "ListDifferences"),
    _PAYOUTS.act("/differences/{difference_id}/close", "CloseDifference"),
    _PAYOUTS.get("/callbacks", "ListCallbacks"),
    _PAYOUTS.act("/callbacks/{callback_id}/reapply", "ReapplyCallback"),
    _PAYOUTS.get("/provider", "GetProviderState"),
)
