"""The risk weights' part of creator.referral.v1.ReferralAdminService."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import weights
from services.referral.rules import operators
from services.referral.rules import risk as rules
from services.referral.settings import Settings
from services.referral.store import risk as scores
from services.referral.store import weights as store


class Risk:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings

    async def ProposeRiskWeights(
        self, request: pb.ProposeRiskWeightsRequest, context: Context
    ) -> pb.ProposeRiskWeightsResponse:
        operators.check_operator(request.operator_id)
        operators.check_reason(request.reason)
        return await weights.propose(self._postgres, self._clock, self._settings.request_key, request)

    async def ActivateRiskWeights(
        self, request: pb.ActivateRiskWeightsRequest, context: Context
    ) -> pb.ActivateRiskWeightsResponse:
        operators.check_operator(request.operator_id)
        operators.check_reason(request.reason)
        return await weights.activate(self._postgres, self._clock, self._settings.request_key, request)

    async def ListRiskWeights(self, request: pb.ListRiskWeightsRequest, context: Context) -> pb.ListRiskWeightsResponse:
        size, below = rules.check_page(request.page_size, request.page_token)
        async with self._postgres.connection() as connection:
            page = await store.page(connection, below, limit=size + 1)
        return pb.ListRiskWeightsResponse(
            versions=[weights.write_weights(each) for each in page[:size]],
            next_page_token=str(page[size - 1].version) if len(page) > size else "",
        )

    async def GetShadowReport(self, request: pb.GetShadowReportRequest, context: Context) -> pb.GetShadowReportResponse:
        from_time = to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else None
        to_time = to_datetime(request.to_time, field="to_time") if request.HasField("to_time") else None
        rules.check_period(from_time, to_time)
        async with self._postgres.transaction(readonly=True) as connection:
            if await store.find(connection, request.weights_version) is None:
                raise rules.RiskWeightsUnknown
            report = await scores.report(connection, request.weights_version, from_time, to_time)
        return pb.GetShadowReportResponse(
            scored=report.scored,
            flagged_by_both=report.flagged_by_both,
            flagged_by_active_only=report.flagged_by_active_only,
            flagged_by_shadow_only=report.flagged_by_shadow_only,
            shadow_only_cleared=report.shadow_only_cleared,
            withheld_micro=report.withheld_micro,
        )
