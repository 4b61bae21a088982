"""Purchases and the payments for them; payments that belong to none."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.distribution.v1 import payments_pb2

_PAYMENTS = Area(
    "payments",
    "Operators: payments",
    "payments",
    payments_pb2.DESCRIPTOR.services_by_name["PaymentsService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "NAME_INVALID ORDER_INVALID PAYER_INVALID PAYMENT_INVALID PAYMENT_STATE_INVALID LEDGER_PAGE_INVALID "
            "REASON_INVALID"
        ),
        HTTPStatus.NOT_FOUND: "PURCHASE_UNKNOWN PAYMENT_UNKNOWN",
        HTTPStatus.CONFLICT: "PAYMENT_ALLOCATED",
    },
)

ROUTES = (
    _PAYMENTS.get("/purchases", "ListPurchases"),
    _PAYMENTS.get("/purchases/{order_id}", "GetPurchase"),
    _PAYMENTS.get("/payments/{payment_id}", "GetPayment"),
    _PAYMENTS.act("/payments/{payment_id}/allocate", "AllocatePayment"),
    _PAYMENTS.act("/payments/{payment_id}/dismiss", "DismissPayment"),
    _PAYMENTS.get("/unallocated-payments", "ListUnallocatedPayments"),
)
