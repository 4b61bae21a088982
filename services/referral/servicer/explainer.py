"""The explainer's part of creator.referral.v1.ReferralAdminService."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral.commands import explaining
from services.referral.model.explanations import Explanation
from services.referral.rules import explaining as rules
from services.referral.rules import operators
from services.referral.rules.accounts import check_account_id
from services.referral.settings import Settings


class Explainer:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings

    async def ExplainAttribution(
        self, request: pb.ExplainAttributionRequest, context: Context
    ) -> pb.ExplainAttributionResponse:
        operator_id = operators.check_operator(request.operator_id)
        reason = operators.check_reason(request.reason)
        match request.WhichOneof("subject"):
            case "account_id":
                account_id = check_account_id(request.account_id)
                explanation = await explaining.explain_account(
                    self._postgres,
                    self._clock,
                    account_id,
                    months=self._settings.attribution_window_months,
                    operator_id=operator_id,
                    reason=reason,
                )
            case "code":
                at = to_datetime(request.at, field="at") if request.HasField("at") else None
                explanation = await explaining.explain_code(
                    self._postgres,
                    self._clock,
                    request.code,
                    at,
                    limits=self._settings.limits,
                    operator_id=operator_id,
                    reason=reason,
                )
            case _:
                raise rules.SubjectMissing(field="subject")
        return _write(explanation)


def _write(explanation: Explanation) -> pb.ExplainAttributionResponse:
    return pb.ExplainAttributionResponse(
        steps=[
            pb.AttributionStep(
                check=step.check, passed=step.passed, reason=step.reason, checked_at=to_timestamp(step.checked_at)
            )
            for step in explanation.steps
        ],
        outcome=explanation.verdict,
        registered_at=to_timestamp(explanation.registered_at) if explanation.registered_at else None,
        window_end=to_timestamp(explanation.window_end) if explanation.window_end else None,
    )
