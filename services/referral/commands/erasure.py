"""Forgetting an account: asked for, spread to every service, done when all of them have reported.

A saga: the intent is written first, money is asked about and forfeited by RPC, and then one transaction removes what
referral keeps and tells the others. A job takes on whatever a crash or a service that was away has left.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import grpc

from libs import erasure as forgetting
from libs import outbox
from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Refusal
from libs.telemetry import logger
from libs.timestamps import to_timestamp
from protos.distribution.v1 import ledger_pb2, treasury_pb2
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from protos.payout.v1.payout_pb2 import HasOpenPayoutsRequest
from protos.payout.v1.payout_pb2_grpc import PayoutServiceStub
from protos.referral.v1 import admin_pb2, events_pb2
from services.referral import metrics
from services.referral.commands import audit, bonuses
from services.referral.model.erasures import Erasure, ErasureState, Money, Report
from services.referral.rules import erasure as rules
from services.referral.store import accounts, erasures

log = logger(__name__)

ITSELF: Final = "account"
"""Who asked, where it was the account itself: its id must not outlive it."""

_JOB: Final = "job:erasure"
_BATCH: Final = 100
_TIMEOUT_S: Final = 3.0
_AGAIN: Final = timedelta(minutes=1)


class Erasing:
    """The saga and whom it asks."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        payout: PayoutServiceStub,
        ledger: LedgerServiceStub,
        treasury: TreasuryServiceStub,
        key: bytes,
    ) -> None:
        """`key` keys the fingerprints of requests."""
        self._postgres = postgres
        self._clock = clock
        self._payout = payout
        self._ledger = ledger
        self._treasury = treasury
        self._key = key

    async def request(self, request: admin_pb2.RequestErasureRequest) -> admin_pb2.RequestErasureResponse:
        """Takes an erasure down. Raises AccountUnknown, PayoutOpen, UnpaidEarnings, MoneyUnknown."""
        once = Once(request.request_id, request, admin_pb2.RequestErasureResponse, self._key)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            account_ref = await accounts.find(connection, request.account_id)
        if account_ref is None:
            raise rules.AccountUnknown
        money = await self._money(account_ref, request.account_id)
        rules.check_money(money, forfeit_consent=request.forfeit_consent)
        return await _take_down(self._postgres, self._clock, once, request)

    async def take_on_all(self, now: datetime) -> None:
        """Takes every requested erasure as far as it goes."""
        async with self._postgres.connection() as connection:
            due = await erasures.list_due(connection, now, limit=_BATCH)
        for erasure in due:
            try:
                await self.take_on(erasure)
            except (Refusal, grpc.aio.AioRpcError) as error:
                reason = error.reason if isinstance(error, Refusal) else "MONEY_UNKNOWN"
                log.warning("an erasure waits", erasure_id=str(erasure.erasure_id), reason=reason)
                await _put_off(self._postgres, erasure.erasure_id, reason, self._clock.now() + _AGAIN)
        async with self._postgres.connection() as connection:
            metrics.erasures(await erasures.count_by_state(connection))

    async def take_on(self, erasure: Erasure) -> None:
        """Looks at the money again, forfeits what may be forfeited, and spreads the erasure."""
        async with self._postgres.connection() as connection:
            account_id = await erasures.find_account_id(connection, erasure.account_ref)
        if account_id is not None:
            money = await self._money(erasure.account_ref, account_id)
            rules.check_money(money, forfeit_consent=erasure.forfeit_consent)
            if money.unpaid_micro:
                await self._forfeit(erasure, f"erasure:{erasure.erasure_id}")
        await _spread(self._postgres, self._clock, erasure.erasure_id)

    async def forfeit_ownerless(self, now: datetime, *, months: int) -> None:
        """What has accrued since to those who are erased belongs to nobody; once a day it goes back to the platform."""
        async with self._postgres.connection() as connection:
            earning = await erasures.list_earning(connection, now - timedelta(days=31 * (months + 1)))
        for erasure in earning:
            await self._forfeit(erasure, f"erasure:{erasure.erasure_id}:{now:%Y-%m-%d}")

    async def _money(self, account_ref: UUID, account_id: str) -> Money:
        """Raises MoneyUnknown where it cannot be asked: an erasure is never guessed to be harmless."""
        try:
            open_payout = await self._has_open_payout(account_ref)
            earnings = await self._ledger.GetEarnings(
                ledger_pb2.GetEarningsRequest(account_id=account_id), timeout=_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise rules.MoneyUnknown(code=error.code().name) from error
        unpaid_micro = (
            earnings.pending_micro + earnings.maturing_micro + earnings.withdrawable_micro + earnings.frozen_micro
        )
        return Money(open_payout or earnings.held_micro > 0, unpaid_micro)

    async def _has_open_payout(self, account_ref: UUID) -> bool:
        try:
            answer = await self._payout.HasOpenPayouts(
                HasOpenPayoutsRequest(account_ref=str(account_ref)), timeout=_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return False  # a version that makes no payouts has none
            raise
        return answer.open

    async def _forfeit(self, erasure: Erasure, request_id: str) -> None:
        await self._treasury.ForfeitEarnings(
            treasury_pb2.ForfeitEarningsRequest(
                request_id=request_id,
                account_ref=str(erasure.account_ref),
                reason="ERASURE_CONSENT",
                operator_id=_JOB,
            ),
            timeout=_TIMEOUT_S,
        )


def pack(erasure: Erasure) -> admin_pb2.Erasure:
    """An erasure as operators see it."""
    return admin_pb2.Erasure(
        erasure_id=str(erasure.erasure_id),
        account_ref=str(erasure.account_ref),
        state=admin_pb2.ErasureState.Value(f"ERASURE_STATE_{erasure.state.name}"),
        services=[
            admin_pb2.ErasedAtService(service=made.service, rows=made.rows, erased_at=to_timestamp(made.erased_at))
            for made in erasure.reports
        ],
        requested_at=to_timestamp(erasure.requested_at),
        done_at=to_timestamp(erasure.done_at) if erasure.done_at else None,
    )


@retried
async def report(postgres: Postgres, clock: Clock, erasure_id: UUID, service: str, rows: int) -> Erasure:
    """A service holds nothing of the account any more; with the last one the erasure is done. Raises ErasureUnknown."""
    async with postgres.transaction() as connection:
        erasure = await erasures.lock(connection, erasure_id)
        if erasure is None or erasure.state is ErasureState.REQUESTED:
            raise rules.ErasureUnknown
        now = clock.now()
        await erasures.report(connection, erasure_id, Report(service, rows, now))
        if erasure.state is ErasureState.SPREADING and rules.is_complete(
            {service, *(made.service for made in erasure.reports)}
        ):
            await erasures.save(connection, replace(erasure, state=ErasureState.DONE, done_at=now))
            await _record(connection, erasure, "ERASURE_DONE", _JOB, "Every service has reported.", now)
    async with postgres.connection() as connection:
        return await erasures.find(connection, erasure_id) or erasure


@retried
async def _take_down(
    postgres: Postgres,
    clock: Clock,
    once: Once[admin_pb2.RequestErasureResponse],
    request: admin_pb2.RequestErasureRequest,
) -> admin_pb2.RequestErasureResponse:
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        account_ref = await accounts.find(connection, request.account_id)
        if account_ref is None:
            raise rules.AccountUnknown
        now = clock.now()
        erasure = await _open(connection, account_ref, now, forfeit_consent=request.forfeit_consent)
        response = await once.remember(connection, admin_pb2.RequestErasureResponse(erasure=pack(erasure)))
        operator_id = ITSELF if request.operator_id == request.account_id else request.operator_id
        await _record(connection, erasure, "ERASURE_REQUESTED", operator_id, request.reason, now)
        return response


async def _open(connection: Connection, account_ref: UUID, now: datetime, *, forfeit_consent: bool) -> Erasure:
    """The account's erasure; one that is open already is asked for again, perhaps with consent this time."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"erasure {account_ref}")
    erasure = await erasures.lock_of_account(connection, account_ref)
    if erasure is None:
        erasure = Erasure(new_id(), account_ref, forfeit_consent, requested_at=now, next_try_at=now)
        await erasures.insert(connection, erasure)
    elif erasure.state is ErasureState.REQUESTED:
        consent = erasure.forfeit_consent or forfeit_consent
        erasure = replace(erasure, forfeit_consent=consent, next_try_at=now)
        await erasures.save(connection, erasure)
    return erasure


@retried
async def _spread(postgres: Postgres, clock: Clock, erasure_id: UUID) -> None:
    """Removes what referral keeps, and tells the others: from here on there is no way back."""
    async with postgres.transaction() as connection:
        erasure = await erasures.lock(connection, erasure_id)
        if erasure is None or erasure.state is not ErasureState.REQUESTED:
            return
        # Like any command of this account: those under way are waited for, those that come find somebody new.
        await erasures.lock_account(connection, erasure.account_ref)
        now = clock.now()
        await bonuses.deny_open(connection, erasure.account_ref, "ACCOUNT_ERASED", now)
        rows = await forgetting.forget(
            connection, erasures.erase, account_ref=erasure.account_ref, erasure_id=erasure_id, erased_at=now
        )
        await connection.execute(
            "UPDATE erased_accounts SET reported = true WHERE account_ref = $1", erasure.account_ref
        )
        await erasures.report(connection, erasure_id, Report("referral", rows, now))
        await erasures.save(connection, replace(erasure, state=ErasureState.SPREADING, spread_at=now, waits_for=""))
        event = events_pb2.AccountErased(
            account_ref=str(erasure.account_ref), erasure_id=str(erasure_id), erased_at=to_timestamp(now)
        )
        await outbox.append(connection, event, key=str(erasure.account_ref), occurred_at=now)
        await _record(connection, erasure, "ERASURE_SPREAD", _JOB, "Nothing is in its way.", now)


@retried
async def _put_off(postgres: Postgres, erasure_id: UUID, reason: str, until: datetime) -> None:
    async with postgres.transaction() as connection:
        erasure = await erasures.lock(connection, erasure_id)
        if erasure is not None and erasure.state is ErasureState.REQUESTED:
            await erasures.save(connection, replace(erasure, waits_for=reason, next_try_at=until))


async def _record(
    connection: Connection, erasure: Erasure, act: str, operator_id: str, reason: str, now: datetime
) -> None:
    await audit.record(
        connection,
        act=act,
        subject=f"erasure:{erasure.erasure_id}",
        operator_id=operator_id,
        reason=reason,
        account_ref=erasure.account_ref,
        now=now,
    )
