"""A bonus's budget at distribution: asked for, given back. Each step is written before it is asked and after.

What a crash left in between is asked again: the bonus's id is the key of its reservation, so that it is made once.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Postgres, retried
from libs.rpc import refusal_of
from libs.telemetry import logger
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from services.referral import metrics
from services.referral.commands import bonuses as moves
from services.referral.model.bonuses import Bonus, Budget, DenialReason
from services.referral.rules import bonuses as rules
from services.referral.store import bonuses

log = logger(__name__)

BATCH: Final = 500
_WAIT_SECONDS: Final = 5.0
_ODD_RETRY: Final = timedelta(hours=1)
_FINAL: Final = {"BUDGET_EXHAUSTED": DenialReason.BUDGET_EXHAUSTED, "ACCOUNT_CAP": DenialReason.ACCOUNT_CAP}
# No campaign is active, or it is paused: an operator's doing, and nothing that a creator should lose a bonus by.
_WAITS: Final = frozenset({"NO_ACTIVE_CAMPAIGN", "CAMPAIGN_NOT_ACTIVE"})
_AWAY: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
)


def is_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call has no answer: what it asked for may have been done, or may be done yet."""
    return error.code() in _AWAY


class Budgets:
    """The saga of a bonus's budget."""

    def __init__(self, postgres: Postgres, clock: Clock, campaigns: CampaignsServiceStub) -> None:
        self._postgres = postgres
        self._clock = clock
        self._campaigns = campaigns

    async def reserve_all(self, now: datetime) -> None:
        """Asks for every budget that was not answered yet; stops where distribution is away."""
        await self._each(Budget.ASKED, now, self.reserve)

    async def reserve(self, bonus: Bonus, wait_seconds: float = _WAIT_SECONDS) -> bool:
        """Asks for one budget and records the answer; False when there is none, and asking others is of no use."""
        request = pb.ReserveBudgetRequest(
            reservation_id=str(bonus.bonus_id),
            type=pb.CAMPAIGN_TYPE_REFERRAL,
            account_ref=str(bonus.referrer_ref),
            amount_micro=bonus.amount_micro,
        )
        try:
            answer = await self._campaigns.ReserveBudget(request, timeout=wait_seconds)
        except grpc.aio.AioRpcError as error:
            if is_away(error):
                return False
            return await self._refused(bonus, refusal_of(error).reason)
        if answer.state != pb.RESERVATION_STATE_RESERVED:
            return await self._refused(bonus, pb.ReservationState.Name(answer.state))
        await self._reserved(bonus.bonus_id, UUID(answer.campaign_id))
        return True

    async def release_all(self, now: datetime) -> None:
        """Gives back the budget of every denied bonus; stops where distribution is away."""
        await self._each(Budget.RELEASING, now, self._release)

    async def _each(self, budget: Budget, now: datetime, step: Callable[[Bonus], Awaitable[bool]]) -> None:
        while True:
            async with self._postgres.connection() as connection:
                waiting = await bonuses.list_moving(connection, budget, now, limit=BATCH)
            for bonus in waiting:
                if not await step(bonus):
                    return
            if len(waiting) < BATCH:
                return

    async def _release(self, bonus: Bonus) -> bool:
        request = pb.ReleaseBudgetRequest(reservation_id=str(bonus.bonus_id), reason=bonus.reason)
        try:
            await self._campaigns.ReleaseBudget(request, timeout=_WAIT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if is_away(error):
                return False
            reason = refusal_of(error).reason
            if reason != "RESERVATION_UNKNOWN":  # never made: nothing to give back
                await self._leave_alone(bonus, reason)
                return True
        await self._released(bonus.bonus_id)
        return True

    async def _refused(self, bonus: Bonus, reason: str) -> bool:
        if reason in _WAITS:
            metrics.BUDGET_REFUSALS.labels(reason).inc()
            return False
        if reason in _FINAL:
            await self._deny(bonus.bonus_id, _FINAL[reason])
        else:
            await self._leave_alone(bonus, reason)
        return True

    @retried
    async def _reserved(self, bonus_id: UUID, campaign_id: UUID) -> None:
        async with self._postgres.transaction() as connection:
            if bonus := await bonuses.lock(connection, bonus_id):
                await moves.change(connection, bonus, rules.reserved(bonus, campaign_id, self._clock.now()))

    @retried
    async def _deny(self, bonus_id: UUID, reason: str) -> None:
        async with self._postgres.transaction() as connection:
            bonus = await bonuses.lock(connection, bonus_id)
            if bonus is not None and bonus.budget is Budget.ASKED:
                await moves.change(connection, bonus, rules.denied(bonus, reason, self._clock.now()))

    @retried
    async def _released(self, bonus_id: UUID) -> None:
        async with self._postgres.transaction() as connection:
            bonus = await bonuses.lock(connection, bonus_id)
            if bonus is not None and bonus.budget is Budget.RELEASING:
                await moves.change(connection, bonus, rules.released(bonus))

    @retried
    async def _leave_alone(self, bonus: Bonus, reason: str) -> None:
        """An answer that should not be: somebody is to look at it, and the others are not to wait for that."""
        log.error("odd answer about a budget", bonus_id=str(bonus.bonus_id), reason=reason)
        metrics.BUDGET_REFUSALS.labels(reason).inc()
        async with self._postgres.transaction() as connection:
            found = await bonuses.lock(connection, bonus.bonus_id)
            if found is not None and found.budget is bonus.budget:
                await moves.change(connection, found, rules.left_alone(found, self._clock.now() + _ODD_RETRY))
