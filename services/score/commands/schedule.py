"""What happens every period without anybody asking: fund the pool, freeze, let go."""

import grpc

from libs.clock import Clock
from libs.periods import Period
from libs.postgres import Postgres, retried
from libs.refusals import AlreadyExists, Refusal
from libs.rpc import refusal_of
from libs.telemetry import logger
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1 import campaigns_pb2_grpc
from services.score import metrics
from services.score.commands import runs as commands
from services.score.model import Order
from services.score.rules import runs as rules
from services.score.settings import Settings
from services.score.store import runs, snapshots

log = logger(__name__)

JOB = Order("job:run", "The period is over.")


class Schedule:
    """Every period that is over gets its money and its run, once, the oldest first."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        campaigns: campaigns_pb2_grpc.CampaignsServiceStub,
        settings: Settings,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._campaigns = campaigns
        self._settings = settings

    async def begin(self) -> bool:
        """Begin the oldest run that is due, and return whether there may be more to do soon.

        One at a time: a run takes what is in the pool, and that is to be its own period's. A period that ever had a run
        is left to operators.
        """
        async with self._postgres.connection() as connection:
            if await runs.list_under_way(connection):
                return True
            first = await snapshots.first_taken_at(connection)
            periods = rules.periods_due(first, self._clock.now(), self._settings.run_cadence)
            due = [period for period in periods if not await runs.was_tried(connection, period.name)]
        metrics.RUN_WAITING.clear()
        for period in due:
            waiting = await self._fund(period) or await self._freeze(period)
            if not waiting:
                return True
            metrics.RUN_WAITING.labels(waiting).set(1)
            log.warning("a run waits to begin", period=period.name, reason=waiting)
        return False

    async def measure(self) -> None:
        """Tell how old the newest scores are."""
        async with self._postgres.connection() as connection:
            newest = await snapshots.newest(connection)
        metrics.SCORES_TAKEN_AT.set(newest.taken_at.timestamp() if newest else 0)

    async def _fund(self, period: Period) -> str:
        try:
            await self._campaigns.FundScorePool(
                pb.FundScorePoolRequest(period=period.name, operator_id=JOB.operator_id, reason=JOB.reason)
            )
        except grpc.aio.AioRpcError as error:
            return refusal_of(error).reason
        return ""

    async def _freeze(self, period: Period) -> str:
        try:
            await self._freeze_and_start(period)
        except AlreadyExists:
            return ""  # another replica, or an operator, was first
        except Refusal as refusal:
            return refusal.reason
        return ""

    @retried
    async def _freeze_and_start(self, period: Period) -> None:
        async with self._postgres.transaction() as connection:
            run = await commands.freeze(
                connection,
                self._clock,
                period,
                self._settings.terms,
                JOB,
                max_age_days=self._settings.score_max_age_days,
            )
            await commands.start(connection, self._clock, run.run_id, JOB)
