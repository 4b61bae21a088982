"""Callbacks: stored before they are answered, then looked up, then applied, exactly once and in any order."""

import hashlib
from datetime import timedelta
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Postgres, is_fault, retried
from libs.refusals import InvalidArgument, Unauthenticated
from libs.telemetry import logger
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2, payments_pb2
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from services.payout import metrics
from services.payout.commands import attempts
from services.payout.model.callbacks import Callback, CallbackKind, CallbackState
from services.payout.provider.canonical import Json, canonical
from services.payout.provider.client import Client
from services.payout.provider.rows import WORD_MAX, Row, standing_of
from services.payout.provider.signatures import verified
from services.payout.provider.trouble import NotThere, Trouble
from services.payout.rules import payments as payment_rules
from services.payout.store import callbacks as store
from services.payout.store import submissions

log = logger(__name__)

BODY_BYTES_MAX: Final = 64 * 1024
TRIES_MAX: Final = 12
_BATCH: Final = 50
_PURGE: Final = 1000
_ID_MAX: Final = 64


class SignatureInvalid(Unauthenticated):
    """The callback is not signed by the provider."""


class CallbackInvalid(InvalidArgument):
    """A callback names a payout or a payment, and has at most 64 KiB."""


@retried
async def receive(
    postgres: Postgres, clock: Clock, kind: CallbackKind, raw_body: bytes, signature: str, secrets: tuple[str, ...]
) -> tuple[UUID, bool]:
    """Stores a callback that the provider signed; its id, and whether the same body had come before.

    Raises SignatureInvalid, always where no secret is configured, and CallbackInvalid; nothing is stored then.
    """
    if len(raw_body) > BODY_BYTES_MAX:
        raise CallbackInvalid(field="raw_body")
    body = verified(raw_body, signature, secrets)
    if body is None:
        metrics.CALLBACKS.labels(kind.name, "UNVERIFIED").inc()
        log.warning("a callback is not signed by the provider", kind=kind.name, body_bytes=len(raw_body))
        raise SignatureInvalid
    provider_id, word = _named(kind, body)
    async with postgres.transaction() as connection:
        callback_id, is_new = await store.keep(
            connection,
            kind,
            raw_body,
            hashlib.sha256(canonical(body).encode()).digest(),
            provider_id,
            word,
            clock.now(),
        )
    metrics.CALLBACKS.labels(kind.name, "STORED" if is_new else "REPEATED").inc()
    return callback_id, not is_new


async def purge(postgres: Postgres, clock: Clock) -> None:
    """Drops callbacks that were dealt with long ago."""
    async with postgres.transaction() as connection:
        await store.purge(connection, clock.now() - store.KEPT, _PURGE)


def _named(kind: CallbackKind, body: dict[str, Json]) -> tuple[str, str]:
    """What it is about, and the word it says of it."""
    wanted = ("id", "status") if kind is CallbackKind.PAYOUT else ("payment_id", "payment_status")
    provider_id, word = (body.get(name) for name in wanted)
    if isinstance(provider_id, bool) or not isinstance(provider_id, (str, int)) or not isinstance(word, str):
        raise CallbackInvalid(field="raw_body")
    text = str(provider_id)
    if not 1 <= len(text) <= _ID_MAX or not (text.isascii() and text.isalnum()) or not word.isprintable():
        raise CallbackInvalid(field="raw_body")
    return text, word[:WORD_MAX]


class Applying:
    """Works what is stored: the truth is what a look-up says, and a callback only says when to look."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        client: Client,
        ledger: PaymentsServiceStub,
        *,
        fee_paid_by: str,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._client = client
        self._ledger = ledger
        self._fee_paid_by = fee_paid_by

    async def run(self) -> None:
        """Applies what is due; what fails is tried again, later each time, and keeps none of the others."""
        async with self._postgres.connection() as connection:
            due = await store.due(connection, self._clock.now(), _BATCH)
        errors: list[Exception] = []
        for callback in due:
            state, payout_id = CallbackState.WAITING, callback.payout_id
            try:
                payout_id, state = await self._apply(callback)
            except (Trouble, grpc.RpcError) as trouble:
                log.warning("a callback waits", callback_id=str(callback.callback_id), trouble=type(trouble).__name__)
            except Exception as error:
                if is_fault(error):
                    raise
                errors.append(error)
            await self._note(callback, state, payout_id)
        if errors:
            raise ExceptionGroup("callbacks that were not applied", errors)

    async def _note(self, callback: Callback, state: CallbackState, payout_id: UUID | None) -> None:
        now = self._clock.now()
        async with self._postgres.transaction() as connection:
            if state is CallbackState.WAITING:
                later = now + min(timedelta(seconds=5) * 2**callback.tries, timedelta(hours=1))
                await store.wait(connection, callback.callback_id, later)
            else:
                await store.end(connection, callback.callback_id, state, payout_id, now)
        metrics.CALLBACKS.labels(callback.kind.name, state.name).inc()

    async def _apply(self, callback: Callback) -> tuple[UUID | None, CallbackState]:
        if callback.kind is CallbackKind.PAYMENT:
            return None, await self._apply_payment(callback)
        return await self._apply_payout(callback)

    async def _apply_payout(self, callback: Callback) -> tuple[UUID | None, CallbackState]:
        row = await self._row(callback)
        if row is None:
            return None, _patient(callback)
        async with self._postgres.connection() as connection:
            attempt = await submissions.by_provider_id(connection, row.provider_id)
            if attempt is None and row.unique_external_id:
                attempt = await submissions.find(connection, row.unique_external_id)
        if attempt is None:
            return None, CallbackState.IGNORED
        await attempts.apply(self._postgres, self._clock, attempt.unique_external_id, row, self._fee_paid_by)
        # The callback may be ahead of what is looked up.
        behind = row.standing < standing_of(callback.provider_state) and not row.standing.is_final
        return attempt.payout_id, _patient(callback) if behind else CallbackState.APPLIED

    async def _row(self, callback: Callback) -> Row | None:
        try:
            rows = await self._client.look_up(callback.provider_id)
        except NotThere:
            return None
        named = [row for row in rows if callback.provider_id in {row.provider_id, row.batch_id}]
        return named[0] if named else None

    async def _apply_payment(self, callback: Callback) -> CallbackState:
        """Tells the ledger what a look-up says of a payment; amounts are cumulative, so saying it twice is nothing."""
        try:
            payment = await self._client.payment(callback.provider_id)
            parent = await self._client.payment(payment.parent_payment_id) if payment.parent_payment_id else None
        except NotThere:
            return _patient(callback)
        told = payment_rules.report(payment)
        if told is None:
            log.error("a payment that nobody understands", payment_id=payment.payment_id, word=payment.word)
            return CallbackState.IGNORED
        request = payments_pb2.RecordPaymentRequest(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            state=events_pb2.PaymentState.ValueType(told.state),
            paid_micro=told.paid_micro,
            refunded_micro=told.refunded_micro,
            source=payments_pb2.PAYMENT_SOURCE_PROVIDER,
            parent_payment_id=payment.parent_payment_id,
            wrong_asset=payment_rules.is_wrong_asset(payment, parent),
        )
        if told.paid_micro:
            # Who reports first dates the clearing, by what the provider says of the last change.
            request.cleared_at.CopyFrom(
                to_timestamp(min(payment.updated_at or callback.received_at, self._clock.now()))
            )
        await self._ledger.RecordPayment(request)
        return CallbackState.APPLIED


def _patient(callback: Callback) -> CallbackState:
    """Waits a while; polling and reconciliation go on without it."""
    return CallbackState.WAITING if callback.tries < TRIES_MAX else CallbackState.IGNORED
