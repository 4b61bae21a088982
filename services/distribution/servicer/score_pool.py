"""The score pool's part of creator.distribution.v1.CampaignsService."""

from libs.clock import Clock
from libs.periods import read_period
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1 import campaigns_pb2_grpc
from services.distribution.commands import score_pool
from services.distribution.model.campaigns import ScorePoolFunding
from services.distribution.rules import campaigns as rules
from services.distribution.rules import score_pool as pool_rules
from services.distribution.store import score_pool as pool_store


class ScorePool(campaigns_pb2_grpc.CampaignsServiceServicer):
    """What feeds foundation:score_rewards."""

    def __init__(self, postgres: Postgres, clock: Clock, *, funding_bps: int) -> None:
        self._postgres = postgres
        self._clock = clock
        self._funding_bps = funding_bps

    async def FundScorePool(self, request: pb.FundScorePoolRequest, context: Context) -> pb.FundScorePoolResponse:
        period = read_period(request.period)
        order = rules.check_order(request.operator_id, request.reason)
        funded = await score_pool.fund(self._postgres, self._clock, period, order, funding_bps=self._funding_bps)
        return pb.FundScorePoolResponse(
            funding=_write_funding(funded.funding), available_micro=funded.available_micro, replayed=funded.replayed
        )

    async def ListScorePoolFundings(
        self, request: pb.ListScorePoolFundingsRequest, context: Context
    ) -> pb.ListScorePoolFundingsResponse:
        size, below = pool_rules.check_page(request.page_size, request.page_token)
        async with self._postgres.connection() as connection:
            found = await pool_store.list_page(connection, below, size + 1)
        return pb.ListScorePoolFundingsResponse(
            fundings=[_write_funding(funding) for funding in found[:size]],
            next_page_token=str(found[size - 1].number) if len(found) > size else "",
        )


def _write_funding(funding: ScorePoolFunding) -> pb.ScorePoolFunding:
    return pb.ScorePoolFunding(
        period=funding.period,
        net_foundation_micro=funding.net_foundation_micro,
        funding_bps=funding.funding_bps,
        funded_micro=funding.funded_micro,
        funded_at=to_timestamp(funding.funded_at),
    )
