"""Any message through any door, and what must not come of it."""

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from protos.distribution.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    distribution_pb2,
    distribution_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
)
from protos.referral.v1 import referral_pb2, referral_pb2_grpc
from tests.support.fuzzing import Target

BROKEN: Final = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
WAIT_SECONDS: Final = 60


@dataclass
class Doors:
    """A plain channel to each service, as a caller without a certificate has it in test mode."""

    channels: dict[str, grpc.Channel]

    def knock(self, target: Target, raw: list[bytes]) -> None:
        """Call with these bytes and judge what comes back."""
        call = self._callable(target)
        try:
            told = call(iter(raw) if target.method.client_streaming else raw[0], timeout=WAIT_SECONDS)
            answers = list(told) if target.method.server_streaming else [told]
        except grpc.RpcError as error:
            judge(target, error)
            return
        for answer in answers:
            GetMessageClass(target.method.output_type).FromString(answer)

    def _callable(self, target: Target) -> Any:
        method = target.method
        channel: Any = self.channels[target.service]
        if method.client_streaming:
            return channel.stream_stream(target.path) if method.server_streaming else channel.stream_unary(target.path)
        return channel.unary_stream(target.path) if method.server_streaming else channel.unary_unary(target.path)


def judge(target: Target, error: Any) -> None:
    assert error.code() not in BROKEN, f"{target.path}: {error.code()} {error.details()}"
    assert "Traceback" not in error.details()
    status = rpc_status.from_call(error)
    assert status is not None, f"{target.path}: {error.code()} {error.details()} says no reason"
    reasons = [each for each in status.details if each.Is(ErrorInfo.DESCRIPTOR)]
    assert len(reasons) == 1, target.path


@dataclass
class Books:
    """What must stay as it is: a bystander's earnings, and that the books are right."""

    doors: Doors

    def _stub(self, stub: Any, service: str) -> Any:
        """A stub without await; the generated ones are typed for asyncio alone."""
        return stub(self.doors.channels[service])

    def earn(self) -> None:
        """Somebody refers somebody who pays."""
        referral = self._stub(referral_pb2_grpc.ReferralServiceStub, "referral")
        now = Timestamp()
        now.GetCurrentTime()
        soon = Timestamp(seconds=now.seconds + 60)
        code = referral.CreateCode(referral_pb2.CreateCodeRequest(account_id="bystander")).code.code
        referral.Register(
            referral_pb2.RegisterRequest(account_id="brought by bystander", code=code, account_created_at=now)
        )
        self._stub(distribution_pb2_grpc.DistributionServiceStub, "distribution").Finalize(
            distribution_pb2.FinalizeRequest(
                inference_charge_id="bystander's charge",
                payer_account_id="brought by bystander",
                community_id="bystanders",
                revenue_micro=1_000_000,
                provider_cost_micro=1_000,
                model="model",
                model_tier="standard",
                finalized_at=soon,
            )
        )

    def earned(self) -> ledger_pb2.GetEarningsResponse:
        """The bystander's earnings, but for the time of asking."""
        ledger = self._stub(ledger_pb2_grpc.LedgerServiceStub, "distribution")
        earnings: ledger_pb2.GetEarningsResponse = ledger.GetEarnings(
            ledger_pb2.GetEarningsRequest(account_id="bystander")
        )
        earnings.ClearField("as_of")
        assert ledger.GetTrialBalance(ledger_pb2.GetTrialBalanceRequest()).total_micro == 0
        return earnings

    def wrong(self) -> list[str]:
        """Invariants that an audit of the whole journal finds broken."""
        audit = self._stub(audit_pb2_grpc.AuditServiceStub, "distribution")
        asked = audit_pb2.RunAuditRequest(request_id=f"fuzz {uuid.uuid4()}", operator_id="fuzz", reason="after a fuzz")
        started = audit.RunAudit(asked).audit.audit_id
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            report = audit.GetAuditReport(audit_pb2.GetAuditReportRequest(audit_id=started))
            if report.audit.HasField("ended_at"):
                return [result.invariant for result in report.results if not result.holds]
            assert time.monotonic() < deadline
            time.sleep(0.05)
