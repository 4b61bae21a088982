"""The launch figures' part of creator.referral.v1.ReferralAdminService."""

from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime
from protos.referral.v1 import admin_pb2 as pb
from services.referral.rules import figures as rules
from services.referral.store import figures


class Figures:
    """Mixed into the admin's servicer."""

    _postgres: Postgres

    async def GetLaunchFigures(
        self, request: pb.GetLaunchFiguresRequest, context: Context
    ) -> pb.GetLaunchFiguresResponse:
        if not (request.HasField("from_time") and request.HasField("to_time")):
            raise rules.FiguresPeriodInvalid(field="from_time")
        start, end = rules.check_period(
            to_datetime(request.from_time, field="from_time"), to_datetime(request.to_time, field="to_time")
        )
        async with self._postgres.connection() as connection:
            counted = await figures.count(connection, start, end)
        return pb.GetLaunchFiguresResponse(
            registered=counted.registered,
            converted=counted.converted,
            conversion_bps=rules.conversion_bps(counted),
            bonus_cost_micro=counted.bonus_cost_micro,
            cac_micro=rules.cac_micro(counted),
            revenue_micro=counted.revenue_micro,
            provider_cost_micro=counted.provider_cost_micro,
            referrer_micro=counted.referrer_micro,
            net_margin_bps=rules.net_margin_bps(counted),
        )
