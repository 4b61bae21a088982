"""The erasure's part of creator.referral.v1.ReferralAdminService."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc import current_caller
from libs.rpc.door import Context
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import erasure
from services.referral.commands.erasure import Erasing
from services.referral.rules import erasure as rules
from services.referral.rules import operators
from services.referral.rules.accounts import check_account_id
from services.referral.store import erasures


class Erasures:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _erasing: Erasing | None

    async def RequestErasure(self, request: pb.RequestErasureRequest, context: Context) -> pb.RequestErasureResponse:
        check_account_id(request.account_id)
        operators.check_operator(request.operator_id)
        operators.check_reason(request.reason)
        if self._erasing is None:
            raise rules.MoneyUnknown
        return await self._erasing.request(request)

    async def GetErasure(self, request: pb.GetErasureRequest, context: Context) -> pb.GetErasureResponse:
        erasure_id = rules.check_erasure_id(request.erasure_id)
        async with self._postgres.connection() as connection:
            found = await erasures.find(connection, erasure_id)
        if found is None:
            raise rules.ErasureUnknown
        return pb.GetErasureResponse(erasure=erasure.pack(found))

    async def ReportErasure(self, request: pb.ReportErasureRequest, context: Context) -> pb.ReportErasureResponse:
        erasure_id = rules.check_erasure_id(request.erasure_id)
        service = rules.check_reporter(request.service, current_caller(), request.rows)
        made = await erasure.report(self._postgres, self._clock, erasure_id, service, request.rows)
        return pb.ReportErasureResponse(erasure=erasure.pack(made))
