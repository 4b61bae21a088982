"""The payout reserve and what it must cover; the switch that stops all payouts; holds."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.distribution.v1 import treasury_pb2

_TREASURY = Area(
    "treasury",
    "Operators: treasury",
    "treasury",
    treasury_pb2.DESCRIPTOR.services_by_name["TreasuryService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "RESERVE_AMOUNT_OUT_OF_RANGE RESERVE_CHANGE_ID_INVALID RESERVE_CHANGE_PAGE_INVALID "
            "RESERVE_CHANGE_STATE_INVALID RESERVE_DIRECTION_INVALID ORDER_INVALID PAYOUT_ID_INVALID "
            "ROUND_INVALID HOLD_PAGE_INVALID HOLD_STATE_INVALID INVALID_TIMESTAMP "
            "NAME_INVALID REASON_INVALID"
        ),
        HTTPStatus.FORBIDDEN: "RESERVE_CHANGE_NEEDS_SECOND",
        HTTPStatus.NOT_FOUND: "RESERVE_CHANGE_UNKNOWN HOLD_UNKNOWN",
        HTTPStatus.CONFLICT: "RESERVE_CHANGE_DECIDED RESERVE_WOULD_NOT_COVER RESERVE_WRONG INSUFFICIENT_BALANCE",
    },
)

ROUTES = (
    _TREASURY.get("/treasury", "GetCoverage"),
    _TREASURY.get("/reserve-changes", "ListReserveChanges"),
    _TREASURY.act("/reserve-changes", "RequestReserveChange"),
    _TREASURY.act("/reserve-changes/{reserve_change_id}/approve", "ApproveReserveChange"),
    _TREASURY.act("/reserve-changes/{reserve_change_id}/reject", "RejectReserveChange"),
    _TREASURY.act("/treasury/pause-payouts", "PausePayouts"),
    _TREASURY.act("/treasury/resume-payouts", "ResumePayouts"),
    _TREASURY.get("/payout-holds", "ListPayoutHolds"),
    _TREASURY.get("/payout-holds/{payout_id}/{round}", "GetPayoutHold"),
)
