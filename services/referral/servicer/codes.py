"""The codes' part of creator.referral.v1.ReferralAdminService."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import codes
from services.referral.rules import operators
from services.referral.servicer.messages import write_code
from services.referral.settings import Settings


class Codes:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings

    async def RevokeCode(self, request: pb.RevokeCodeRequest, context: Context) -> pb.RevokeCodeResponse:
        operators.check_operator(request.operator_id)
        operators.check_reason(request.reason)
        code = await codes.revoke_code(self._postgres, self._clock, request, self._settings.request_key)
        return pb.RevokeCodeResponse(code=write_code(code))
