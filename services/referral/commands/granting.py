"""Bonuses whose hold period is over: checked, then granted at distribution in batches.

A grant is marked as sent before distribution is asked, and marked as granted by its answer. Who dies in between asks
again: the bonus's id is the grant's, and it is granted once. While it is marked as sent nothing else is decided of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Postgres, is_fault, retried
from libs.rpc import refusal_of
from libs.telemetry import logger
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from services.referral import metrics
from services.referral.commands import bonuses as moves
from services.referral.commands import checking
from services.referral.commands.budgets import is_away
from services.referral.model import Standing
from services.referral.model.bonuses import Bonus, DenialReason
from services.referral.rules import bonuses as rules
from services.referral.store import bonuses, standings

log = logger(__name__)

CHECK_BATCH: Final = 500
GRANT_BATCH: Final = 200
_CHECK_RETRY: Final = timedelta(minutes=5)
_GRANT_RETRY: Final = timedelta(minutes=10)
_WAIT_SECONDS: Final = 10.0


class Granting:
    """What becomes of bonuses by time."""

    def __init__(self, postgres: Postgres, clock: Clock, campaigns: CampaignsServiceStub) -> None:
        self._postgres = postgres
        self._clock = clock
        self._campaigns = campaigns

    async def check_all(self, now: datetime) -> None:
        """Checks what is due. A check that fails keeps its bonus pending and does not stop the others."""
        while True:
            async with self._postgres.connection() as connection:
                due = await bonuses.list_due(connection, now, limit=CHECK_BATCH)
                metrics.waiting(await bonuses.count_waiting(connection, now))
            for bonus_id in due:
                await self._check(bonus_id, now)
            if len(due) < CHECK_BATCH:
                return

    async def grant_all(self, now: datetime) -> None:
        """Grants what is cleared, a campaign's batch at a time; stops where distribution is away."""
        while batch := await self._mark_sent(now):
            if not await self._grant(batch):
                return

    async def _check(self, bonus_id: UUID, now: datetime) -> None:
        try:
            await self._judge(bonus_id, now)
        except Exception as error:
            if is_fault(error):
                raise
            log.exception("a check failed", bonus_id=str(bonus_id))
            metrics.CHECK_FAILURES.inc()
            await self._leave_alone(bonus_id, now + _CHECK_RETRY)

    @retried
    async def _judge(self, bonus_id: UUID, now: datetime) -> None:
        async with self._postgres.transaction() as connection:
            bonus = await bonuses.lock(connection, bonus_id)
            if bonus is None or not rules.is_due(bonus, now):
                return
            standing = (await standings.find(connection, bonus.referrer_ref)).standing
            if standing is Standing.FORFEITED:
                await moves.change(connection, bonus, rules.denied(bonus, DenialReason.REFERRER_FORFEITED, now))
                return
            verdict = await checking.check(connection, bonus, now=now)
            await moves.change(connection, bonus, rules.judged(bonus, verdict, now))

    @retried
    async def _leave_alone(self, bonus_id: UUID, until: datetime) -> None:
        async with self._postgres.transaction() as connection:
            if bonus := await bonuses.lock(connection, bonus_id):
                await moves.change(connection, bonus, rules.left_alone(bonus, until))

    @retried
    async def _mark_sent(self, now: datetime) -> list[Bonus]:
        """The next batch, as it was before it was marked: who has `sent_at` in it was sent before."""
        async with self._postgres.transaction() as connection:
            batch = await bonuses.lock_to_grant(connection, now, limit=GRANT_BATCH)
            for bonus in batch:
                await moves.change(connection, bonus, rules.sent(bonus, now))
        return batch

    async def _grant(self, batch: Sequence[Bonus]) -> bool:
        """Asks for a batch; False when distribution is away, and what was sent stays sent.

        A batch is granted whole or not at all. Of one that is refused the grant that the refusal names is put back and
        the rest is asked for again; where it names none the batch is halved, down to the one.
        """
        try:
            answer = await self._campaigns.BatchGrant(_request(batch), timeout=_WAIT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if is_away(error):
                log.warning("grants not answered", bonuses=len(batch), code=error.code().name)
                return False
            refused = refusal_of(error)
            return await self._refused(batch, refused.reason, refused.data.get("grant_id", ""))
        await self._granted({UUID(lot.grant_id): UUID(lot.lot_id) for lot in answer.lots})
        return True

    async def _refused(self, batch: Sequence[Bonus], reason: str, grant_id: str) -> bool:
        named = [bonus for bonus in batch if str(bonus.bonus_id) == grant_id]
        if reason == "CAMPAIGN_NOT_ACTIVE":
            # Whatever is new was refused; only what may be granted already gets another answer, asked by itself.
            named = [bonus for bonus in batch if bonus.sent_at is None]
        if len(batch) == 1:
            named = list(batch)
        if named:
            await self._put_back(named, reason)
            rest = [bonus for bonus in batch if bonus not in named]
            return not rest or await self._grant(rest)
        half = len(batch) // 2
        return await self._grant(batch[:half]) and await self._grant(batch[half:])

    @retried
    async def _granted(self, lots: dict[UUID, UUID]) -> None:
        async with self._postgres.transaction() as connection:
            now = self._clock.now()
            for bonus in await bonuses.lock_many(connection, list(lots)):
                if bonus.is_open:
                    await moves.change(connection, bonus, rules.granted(bonus, lots[bonus.bonus_id], now))

    @retried
    async def _put_back(self, refused: Sequence[Bonus], reason: str) -> None:
        log.error("grants refused", bonuses=[str(bonus.bonus_id) for bonus in refused][:20], reason=reason)
        metrics.GRANT_REFUSALS.labels(reason).inc(len(refused))
        async with self._postgres.transaction() as connection:
            now = self._clock.now()
            for bonus in await bonuses.lock_many(connection, [bonus.bonus_id for bonus in refused]):
                if bonus.is_open:
                    await moves.change(connection, bonus, rules.put_back(bonus, now, now + _GRANT_RETRY))


def _request(batch: Sequence[Bonus]) -> pb.BatchGrantRequest:
    # A new id for each asking: what is granted once and for ever is the grant's id.
    return pb.BatchGrantRequest(
        request_id=f"bonuses-{new_id()}",
        campaign_id=str(batch[0].campaign_id),
        grants=[
            pb.Grant(
                grant_id=str(bonus.bonus_id),
                account_ref=str(bonus.referrer_ref),
                amount_micro=bonus.amount_micro,
                reservation_id=str(bonus.bonus_id),
            )
            for bonus in batch
        ],
    )
