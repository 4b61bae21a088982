"""Reconciliation: the provider's list, our attempts and the ledger's holds are compared; every difference is kept."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Postgres, retried
from libs.telemetry import logger
from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from services.payout import metrics
from services.payout.model.reconciliations import Hold, HoldState, Reconciliation, ReconciliationState
from services.payout.provider.client import Client
from services.payout.provider.trouble import Trouble
from services.payout.rules import reconciling as rules
from services.payout.rules.submissions import PROMISED_WITHIN
from services.payout.store import differences, reconciliations, submissions

log = logger(__name__)

WINDOW: Final = timedelta(days=7)
"""How far back both sides are compared, besides whatever is not final."""
_PAGE: Final = 1000
_PAGES_MAX: Final = 1000


@retried
async def begin(postgres: Postgres, clock: Clock) -> Reconciliation:
    """The reconciliation that runs; the job takes it up at its next turn."""
    async with postgres.transaction() as connection:
        return await reconciliations.open_one(connection, clock.now())


class Reconciling:
    """Ends what was begun."""

    def __init__(self, postgres: Postgres, clock: Clock, client: Client, ledger: TreasuryServiceStub) -> None:
        self._postgres = postgres
        self._clock = clock
        self._client = client
        self._ledger = ledger

    async def hourly(self) -> None:
        """Begins one, and ends it."""
        await begin(self._postgres, self._clock)
        await self.run()

    async def run(self) -> None:
        """Ends the one that runs, where there is one."""
        async with self._postgres.connection() as connection:
            running = await reconciliations.running(connection)
        if running is None:
            return
        try:
            await self._compare(running)
        except (Trouble, grpc.RpcError) as trouble:
            log.warning("reconciliation broke off", trouble=type(trouble).__name__)
            await self._fail(running)

    async def watch(self) -> None:
        """How old the oldest open payout is, and how many broke the 72-hour promise."""
        now = self._clock.now()
        async with self._postgres.connection() as connection:
            oldest, overdue = await reconciliations.oldest_open(connection, now - PROMISED_WITHIN)
            metrics.QUEUED.set(await reconciliations.waiting(connection))
            metrics.DIFFERENCES.set(await differences.count_open(connection))
        metrics.OVERDUE.set(overdue)
        metrics.OLDEST_SECONDS.set((now - oldest).total_seconds() if oldest else 0)

    async def _compare(self, running: Reconciliation) -> None:
        now = self._clock.now()
        async with self._postgres.connection() as connection:
            known = await submissions.since(connection, now - WINDOW)
        since = min([now - WINDOW, *(attempt.prepared_at for attempt in known)])
        # The ledger first and ours last: what goes on meanwhile is younger than what they are compared with.
        holds = await self._holds(since)
        rows = await self._client.rows_since(since)
        async with self._postgres.connection() as connection:
            known = await submissions.since(connection, since)
            ids = {hold.payout_id for hold in holds} | {attempt.payout_id for attempt in known}
            payouts = await reconciliations.payouts_by_id(connection, list(ids))
        found = rules.with_provider(rows, known, now, since) + rules.with_ledger(holds, payouts, now)
        sent = rules.sent(rows, known, holds, payouts)
        async with self._postgres.transaction() as connection:
            for each in found:
                await differences.note(connection, each, now)
            left = await differences.close_others(connection, {each.key for each in found}, now)
            await reconciliations.end(
                connection,
                running.reconciliation_id,
                ReconciliationState.DIFFERS if left else ReconciliationState.MATCHED,
                now,
                payouts=len(payouts),
                provider_sent_micro=sent.provider_micro,
                ledger_sent_micro=sent.ledger_micro,
                differences=left,
            )
        metrics.DIFFERENCES.set(left)
        metrics.RECONCILED_SECONDS.set(now.timestamp())

    async def _fail(self, running: Reconciliation) -> None:
        async with self._postgres.transaction() as connection:
            failed = ReconciliationState.FAILED
            await reconciliations.end(connection, running.reconciliation_id, failed, self._clock.now())

    async def _holds(self, since: datetime) -> list[Hold]:
        """Every hold that changed since."""
        request = treasury_pb2.ListPayoutHoldsRequest(changed_since=to_timestamp(since), page_size=_PAGE)
        found: list[Hold] = []
        for _ in range(_PAGES_MAX):
            answer = await self._ledger.ListPayoutHolds(request)
            found += [_hold(hold) for hold in answer.holds]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        return found


def _hold(hold: treasury_pb2.PayoutHold) -> Hold:
    return Hold(
        UUID(hold.payout_id), hold.round, HoldState(hold.state), hold.amount_micro, hold.sent_micro, hold.fee_micro
    )
