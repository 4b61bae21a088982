"""A creator's payouts, from the offer to the hash on chain."""

from gateway.derived.own import Own
from protos.payout.v1 import payout_pb2

_PAYOUTS = Own("Payouts", "payout", payout_pb2.DESCRIPTOR.services_by_name["PayoutService"])

_REQUESTED = "PAYOUT_AMOUNT_INVALID CURRENCY_UNKNOWN ADDRESS_INVALID ADDRESS_UNSPENDABLE"
_HELD = "INSUFFICIENT_WITHDRAWABLE EARNINGS_FROZEN PAYOUTS_PAUSED PAYOUTS_DISABLED"
_NAMED = "PAYOUT_NAME_INVALID"
_BARRED = "ACCOUNT_SUSPENDED LEDGER_REFUSED"

ROUTES = (
    _PAYOUTS.get("/api/payouts/currencies", "ListCurrencies"),
    _PAYOUTS.post(
        "/api/payouts/quote",
        "QuotePayout",
        optional=("destination_address",),
        bad_request=_REQUESTED,
        conflict="BELOW_MINIMUM",
        service_unavailable="PRICE_UNKNOWN PAYOUT_ACCOUNT_UNREACHABLE",
    ),
    _PAYOUTS.pay(
        "/api/payouts/request",
        "RequestPayout",
        optional=("memo", "quote_id"),
        bad_request=f"{_REQUESTED} {_NAMED} MEMO_INVALID QUOTE_MISMATCH",
        forbidden="DESTINATION_BLOCKED",
        not_found="QUOTE_UNKNOWN",
        conflict=f"{_HELD} BELOW_MINIMUM QUOTE_EXPIRED PAYOUTS_CLOSED {_BARRED}",
        too_many_requests="PAYOUT_TOO_SOON",
        service_unavailable="PRICE_UNKNOWN PAYOUT_ACCOUNT_UNREACHABLE SCREENING_UNAVAILABLE",
    ),
    _PAYOUTS.get("/api/payouts/destinations", "ListDestinations", bad_request="PAYOUT_PAGE_INVALID"),
    _PAYOUTS.delete(
        "/api/payouts/destinations/{destination_id}",
        "RemoveDestination",
        bad_request=_NAMED,
        not_found="DESTINATION_UNKNOWN",
        conflict="DESTINATION_IN_USE",
    ),
    _PAYOUTS.get("/api/payouts/{payout_id}", "GetPayout", bad_request=_NAMED, not_found="PAYOUT_UNKNOWN"),
    _PAYOUTS.post(
        "/api/payouts/{payout_id}/challenge",
        "ChallengePayout",
        bad_request=_NAMED,
        not_found="PAYOUT_UNKNOWN",
        conflict="NOT_AWAITING_CONFIRMATION",
    ),
    _PAYOUTS.pay(
        "/api/payouts/{payout_id}/confirm",
        "ConfirmPayout",
        bad_request=f"{_NAMED} CONFIRMATION_MALFORMED CONFIRMATION_WRONG",
        forbidden="DESTINATION_BLOCKED",
        not_found="PAYOUT_UNKNOWN",
        conflict="NOT_AWAITING_CONFIRMATION CONFIRMATION_EXPIRED ILLEGAL_MOVE",
    ),
    _PAYOUTS.pay(
        "/api/payouts/{payout_id}/cancel",
        "CancelPayout",
        bad_request=_NAMED,
        not_found="PAYOUT_UNKNOWN",
        conflict="PAYOUT_NOT_CANCELLABLE ILLEGAL_MOVE",
    ),
    _PAYOUTS.pay(
        "/api/payouts/{payout_id}/retry",
        "RetryPayout",
        bad_request=_NAMED,
        not_found="PAYOUT_UNKNOWN",
        conflict=f"{_HELD} PAYOUT_NOT_RETRYABLE DESTINATION_NOT_CONFIRMED {_BARRED} ILLEGAL_MOVE",
    ),
    _PAYOUTS.get("/api/creator/payouts", "ListPayouts", bad_request="PAYOUT_FILTER_INVALID PAYOUT_PAGE_INVALID"),
)
