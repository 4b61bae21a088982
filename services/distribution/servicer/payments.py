"""creator.distribution.v1.PaymentsService: what was bought, and what paid for it."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Connection, Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.distribution.v1 import events_pb2, payments_pb2, payments_pb2_grpc
from services.distribution.attribution import AccountRefs
from services.distribution.commands import payments as commands
from services.distribution.commands import refunds
from services.distribution.model.payments import Payment, PaymentState, Purchase, Report
from services.distribution.rules import payments as rules
from services.distribution.rules import queries
from services.distribution.rules.refusals import (
    PaymentSourceInvalid,
    PaymentStateInvalid,
    PaymentUnknown,
    PurchaseUnknown,
)
from services.distribution.store import payments

_OPERATORS: Final = frozenset({"gateway"})

CALLERS: Final = {
    "RecordPurchase": frozenset({"billing", "gateway"}),
    "RecordPayment": frozenset({"billing", "payout"}),
    "GetPurchase": frozenset({"billing", "gateway", "payout"}),
    "ListPurchases": _OPERATORS,
    "GetPayment": frozenset({"billing", "gateway", "payout"}),
    "ListUnallocatedPayments": _OPERATORS,
    "AllocatePayment": _OPERATORS,
    "DismissPayment": _OPERATORS,
}
"""Who may call what, by the name in the caller's certificate."""


class PaymentsServicer(payments_pb2_grpc.PaymentsServiceServicer):
    """creator.distribution.v1.PaymentsService."""

    def __init__(self, postgres: Postgres, clock: Clock, refs: AccountRefs) -> None:
        self._postgres = postgres
        self._clock = clock
        self._refs = refs

    async def RecordPurchase(
        self, request: payments_pb2.RecordPurchaseRequest, context: Context
    ) -> payments_pb2.RecordPurchaseResponse:
        rules.check_purchase(request.order_id, request.price_micro)
        account_ref = await self._refs.made(queries.check_account_id(request.account_id))
        purchase, replayed = await commands.record_purchase(
            self._postgres, self._clock, request.order_id, account_ref, request.price_micro
        )
        async with self._postgres.connection() as connection:
            return payments_pb2.RecordPurchaseResponse(
                purchase=await _purchase(connection, purchase), replayed=replayed
            )

    async def RecordPayment(
        self, request: payments_pb2.RecordPaymentRequest, context: Context
    ) -> payments_pb2.RecordPaymentResponse:
        payment, changed = await commands.record_payment(self._postgres, self._clock, _report(request))
        # A crash before this line is mended by the job: what is refunded is on record.
        await refunds.apply_refunds(self._postgres, self._clock, payment.payment_id)
        return payments_pb2.RecordPaymentResponse(payment=_payment(payment), changed=changed)

    async def GetPurchase(
        self, request: payments_pb2.GetPurchaseRequest, context: Context
    ) -> payments_pb2.GetPurchaseResponse:
        async with self._postgres.transaction(readonly=True) as connection:
            purchase = await payments.find_purchase(connection, queries.check_name(request.order_id, "order_id"))
            if purchase is None:
                raise PurchaseUnknown
            paid = await payments.payments_of(connection, purchase.order_id)
            return payments_pb2.GetPurchaseResponse(
                purchase=await _purchase(connection, purchase), payments=[_payment(each) for each in paid]
            )

    async def ListPurchases(
        self, request: payments_pb2.ListPurchasesRequest, context: Context
    ) -> payments_pb2.ListPurchasesResponse:
        size, after = queries.check_timed_page(request.page_size, request.page_token)
        account_ref = await self._refs.known(queries.check_account_id(request.account_id))
        if account_ref is None:
            return payments_pb2.ListPurchasesResponse()
        async with self._postgres.transaction(readonly=True) as connection:
            page = await payments.list_purchases(connection, account_ref, after, size + 1)
            shown = [await _purchase(connection, each) for each in page[:size]]
        token = queries.timed_token(page[size - 1].recorded_at, page[size - 1].order_id) if len(page) > size else ""
        return payments_pb2.ListPurchasesResponse(purchases=shown, next_page_token=token)

    async def GetPayment(
        self, request: payments_pb2.GetPaymentRequest, context: Context
    ) -> payments_pb2.GetPaymentResponse:
        async with self._postgres.transaction(readonly=True) as connection:
            payment = await payments.find_payment(connection, queries.check_name(request.payment_id, "payment_id"))
            if payment is None:
                raise PaymentUnknown
            charges, reversed_micro, loss_micro = await payments.totals(connection, payment.payment_id)
        return payments_pb2.GetPaymentResponse(
            payment=_payment(payment),
            spent_micro=payment.spent_micro,
            charges=charges,
            reversed_micro=reversed_micro,
            loss_micro=loss_micro,
        )

    async def ListUnallocatedPayments(
        self, request: payments_pb2.ListUnallocatedPaymentsRequest, context: Context
    ) -> payments_pb2.ListUnallocatedPaymentsResponse:
        size = queries.check_page(request.page_size, request.page_token)
        async with self._postgres.connection() as connection:
            page = await payments.list_unallocated(connection, request.reason, request.page_token, size + 1)
        return payments_pb2.ListUnallocatedPaymentsResponse(
            payments=[_payment(each) for each in page[:size]],
            next_page_token=page[size - 1].payment_id if len(page) > size else "",
        )

    async def AllocatePayment(
        self, request: payments_pb2.AllocatePaymentRequest, context: Context
    ) -> payments_pb2.AllocatePaymentResponse:
        _check_decision(request)
        queries.check_name(request.order_id, "order_id")
        payment = await commands.allocate_payment(self._postgres, self._clock, request)
        return payments_pb2.AllocatePaymentResponse(payment=_payment(payment))

    async def DismissPayment(
        self, request: payments_pb2.DismissPaymentRequest, context: Context
    ) -> payments_pb2.DismissPaymentResponse:
        _check_decision(request)
        payment = await commands.dismiss_payment(self._postgres, request)
        return payments_pb2.DismissPaymentResponse(payment=_payment(payment))


def _check_decision(request: payments_pb2.AllocatePaymentRequest | payments_pb2.DismissPaymentRequest) -> None:
    queries.check_name(request.payment_id, "payment_id")
    queries.check_operator(request.operator_id, request.reason)


def _report(request: payments_pb2.RecordPaymentRequest) -> Report:
    if int(request.state) not in set(map(int, PaymentState)):
        raise PaymentStateInvalid(field="state")
    if request.source not in payments_pb2.PaymentSource.values():
        raise PaymentSourceInvalid(field="source")
    return Report(
        payment_id=request.payment_id,
        order_id=request.order_id,
        state=PaymentState(request.state),
        paid_micro=request.paid_micro,
        refunded_micro=request.refunded_micro,
        cleared_at=to_datetime(request.cleared_at, field="cleared_at") if request.HasField("cleared_at") else None,
        source=request.source,
        parent_payment_id=request.parent_payment_id,
        wrong_asset=request.wrong_asset,
    )


async def _purchase(connection: Connection, purchase: Purchase) -> payments_pb2.Purchase:
    stands = rules.purchase_state(purchase.price_micro, await payments.payments_of(connection, purchase.order_id))
    return payments_pb2.Purchase(
        order_id=purchase.order_id,
        account_ref=purchase.account_ref,
        price_micro=purchase.price_micro,
        state=events_pb2.PaymentState.ValueType(stands.state),
        net_paid_micro=stands.net_paid_micro,
        recorded_at=to_timestamp(purchase.recorded_at),
    )


def _payment(payment: Payment) -> payments_pb2.Payment:
    return payments_pb2.Payment(
        payment_id=payment.payment_id,
        order_id=payment.order_id or "",
        state=events_pb2.PaymentState.ValueType(payment.state),
        paid_micro=payment.paid_micro,
        refunded_micro=payment.refunded_micro,
        cleared_at=to_timestamp(payment.cleared_at) if payment.cleared_at else None,
        source=payments_pb2.PaymentSource.ValueType(payment.source),
        unallocated_reason=payments_pb2.UnallocatedReason.ValueType(payment.unallocated_reason),
        reported_at=to_timestamp(payment.reported_at) if payment.reported_at else None,
    )
