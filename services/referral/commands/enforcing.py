"""What a standing means for money is told to distribution until it answers.

The order is written with the standing; it is marked as answered by the answer. Who dies in between tells again:
(account_ref, standing_revision) is the call's key, and a forfeiture has a request id of its own for each round.
"""

from datetime import datetime, timedelta
from typing import Final

import grpc

from libs.clock import Clock
from libs.postgres import Postgres, retried
from libs.rpc import refusal_of
from libs.telemetry import logger
from protos.distribution.v1 import treasury_pb2 as pb
from protos.distribution.v1.treasury_pb2_grpc import TreasuryServiceStub
from services.referral import metrics
from services.referral.model.standings import Enforcement, Order
from services.referral.rules import standings as rules
from services.referral.store import standings

log = logger(__name__)

_BATCH: Final = 100
_WAIT_SECONDS: Final = 10.0
FORFEIT_AGAIN: Final = timedelta(days=7)
"""What a payout gave back since, and what accrued, is taken a week later."""


class Enforcing:
    """Tells distribution what is due."""

    def __init__(self, postgres: Postgres, clock: Clock, treasury: TreasuryServiceStub) -> None:
        self._postgres = postgres
        self._clock = clock
        self._treasury = treasury

    async def tell_all(self, now: datetime) -> None:
        """Tells each order that is due once; one that is not answered waits, and does not stop the others."""
        while True:
            async with self._postgres.connection() as connection:
                due = await standings.list_due_orders(connection, now, limit=_BATCH)
            for order in due:
                await self._tell(order)
            if len(due) < _BATCH:
                break
        async with self._postgres.connection() as connection:
            metrics.UNTOLD.set(await standings.count_untold(connection))

    async def _tell(self, order: Order) -> None:
        try:
            forfeited_micro = await self._ask(order)
        except grpc.aio.AioRpcError as error:
            reason = refusal_of(error).reason or error.code().name
            log.warning("standing not enforced", account_ref=str(order.account_ref), act=order.act, reason=reason)
            metrics.ENFORCEMENT_FAILURES.labels(order.act, reason).inc()
            await self._put_off(order)
            return
        await self._answered(order, forfeited_micro)

    async def _ask(self, order: Order) -> int:
        account_ref, revision = str(order.account_ref), order.revision
        if order.act is Enforcement.UNFREEZE:
            unfreeze = pb.UnfreezeEarningsRequest(
                account_ref=account_ref, standing_revision=revision, reason=order.reason
            )
            await self._treasury.UnfreezeEarnings(unfreeze, timeout=_WAIT_SECONDS)
            return 0
        # What is forfeited stays frozen: whatever accrues after it is nobody's to withdraw either.
        freeze = pb.FreezeEarningsRequest(account_ref=account_ref, standing_revision=revision, reason=order.reason)
        await self._treasury.FreezeEarnings(freeze, timeout=_WAIT_SECONDS)
        if order.act is Enforcement.FREEZE:
            return 0
        forfeit = pb.ForfeitEarningsRequest(
            request_id=f"standing-{account_ref}-{revision}-{order.round}",
            account_ref=account_ref,
            reason=order.reason,
            operator_id=order.operator_id,
            standing_revision=revision,
        )
        taken = await self._treasury.ForfeitEarnings(forfeit, timeout=_WAIT_SECONDS)
        return taken.pending_micro + taken.settled_micro

    @retried
    async def _answered(self, order: Order, forfeited_micro: int) -> None:
        async with self._postgres.transaction() as connection:
            now = self._clock.now()
            again_at = now + FORFEIT_AGAIN if order.act is Enforcement.FORFEIT else None
            await standings.answered(connection, order, now, forfeited_micro=forfeited_micro, again_at=again_at)

    @retried
    async def _put_off(self, order: Order) -> None:
        async with self._postgres.transaction() as connection:
            await standings.put_off(connection, order, self._clock.now() + rules.retry_after(order.tries))
