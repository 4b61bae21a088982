"""The platform as billing sees it: one method for each call that it may make."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import Final, Protocol, Self, TypeVar

import grpc

from libs.calls import Refused, refusal_of
from libs.client.certificates import Certificates
from libs.client.connection import Connection
from libs.refusals import Code
from protos.distribution.v1.campaigns_pb2 import (
    GetCreditsRequest,
    GetCreditsResponse,
    ReturnCreditsRequest,
    ReturnCreditsResponse,
    SpendCreditsRequest,
    SpendCreditsResponse,
)
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.distribution.v1.distribution_pb2 import (
    FinalizeBatchRequest,
    FinalizeRequest,
    FinalizeResponse,
    FinalizeResult,
    FinalizeStreamRequest,
    GetDistributionRequest,
    GetDistributionResponse,
)
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub
from protos.distribution.v1.payments_pb2 import (
    RecordPaymentRequest,
    RecordPaymentResponse,
    RecordPurchaseRequest,
    RecordPurchaseResponse,
)
from protos.distribution.v1.payments_pb2_grpc import PaymentsServiceStub
from protos.referral.v1.referral_pb2 import RecordQualifyingActionRequest, RecordQualifyingActionResponse
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub

WAIT_SECONDS: Final = 5.0
"""The deadline of a call that moves one thing, its retries included."""
BATCH_WAIT_SECONDS: Final = 15.0
"""The deadline of a batch of up to 500 charges, its retries included."""
STREAM_WAIT_SECONDS: Final = 3600.0
"""The deadline of a stream: open another one every hour, or sooner."""

Metadata = tuple[tuple[str, str], ...]

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Response_co = TypeVar("_Response_co", covariant=True)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class _Call(Protocol[_Request_contra, _Response_co]):
    """A method of a generated stub."""

    def __call__(
        self, request: _Request_contra, /, *, timeout: float, metadata: Metadata
    ) -> Awaitable[_Response_co]: ...


class Platform:
    """Connections to distribution and referral; used as `async with Platform(…) as platform`.

    Every call may be repeated as it is: the platform does it once. Every call raises `Refused` when it is refused
    (`code`, `reason`, `data`), also where nobody answered in time or at all (`DEADLINE_EXCEEDED`, `UNAVAILABLE`).
    UNAVAILABLE, and CANCELLED by the other side, is retried three times within the deadline before that.
    """

    def __init__(
        self, *, distribution: str, referral: str, caller: str = "billing", certificates: Certificates | None = None
    ) -> None:
        """Take each service's host:port; without certificates only a platform in test mode answers."""
        self._distribution = Connection(distribution, caller, "distribution", certificates)
        self._referral = Connection(referral, caller, "referral", certificates)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace_seconds: float = 5.0) -> None:
        """Close; running calls get `grace_seconds`."""
        await self._distribution.close(grace_seconds)
        await self._referral.close(grace_seconds)

    async def finalize(self, charge: FinalizeRequest, *, wait_seconds: float = WAIT_SECONDS) -> FinalizeResponse:
        """Split one charge; durable when answered."""
        stub = self._distribution.stub(DistributionServiceStub)
        return await _answer(self._distribution, stub.Finalize, charge, wait_seconds)

    async def finalize_batch(
        self, charges: Sequence[FinalizeRequest], *, wait_seconds: float = BATCH_WAIT_SECONDS
    ) -> list[FinalizeResult]:
        """Split up to 500 charges; one result per charge, in the order given: read each with `response_of`."""
        request = FinalizeBatchRequest(charges=charges)
        stub = self._distribution.stub(DistributionServiceStub)
        return list((await _answer(self._distribution, stub.FinalizeBatch, request, wait_seconds)).results)

    async def finalize_stream(
        self, charges: AsyncIterable[FinalizeRequest], *, wait_seconds: float = STREAM_WAIT_SECONDS
    ) -> AsyncIterator[FinalizeResult]:
        """Split charges as they come; results come in any order, keyed by `inference_charge_id`.

        A stream that broke off raises `Refused` and is not retried: send what was not answered again.
        """

        async def requests() -> AsyncGenerator[FinalizeStreamRequest, None]:
            async for charge in charges:
                yield FinalizeStreamRequest(charge=charge)

        async with aclosing(requests()) as sent:
            call = self._distribution.stub(DistributionServiceStub).FinalizeStream(
                sent, timeout=wait_seconds, metadata=self._distribution.metadata()
            )
            try:
                async for response in call:
                    yield response.result
            except grpc.aio.AioRpcError as error:
                raise refusal_of(error) from None
            finally:
                call.cancel()

    async def get_distribution(
        self, request: GetDistributionRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> GetDistributionResponse:
        """Read what was decided about one charge."""
        stub = self._distribution.stub(DistributionServiceStub)
        return await _answer(self._distribution, stub.GetDistribution, request, wait_seconds)

    async def record_purchase(
        self, request: RecordPurchaseRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> RecordPurchaseResponse:
        """Announce a purchase."""
        stub = self._distribution.stub(PaymentsServiceStub)
        return await _answer(self._distribution, stub.RecordPurchase, request, wait_seconds)

    async def record_payment(
        self, request: RecordPaymentRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> RecordPaymentResponse:
        """Report how a payment stands: amounts so far, in any order."""
        stub = self._distribution.stub(PaymentsServiceStub)
        return await _answer(self._distribution, stub.RecordPayment, request, wait_seconds)

    async def record_qualifying_action(
        self, request: RecordQualifyingActionRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> RecordQualifyingActionResponse:
        """Report a mint or a purchase that may earn a signup bonus."""
        stub = self._referral.stub(ReferralServiceStub)
        return await _answer(self._referral, stub.RecordQualifyingAction, request, wait_seconds)

    async def spend_credits(
        self, request: SpendCreditsRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> SpendCreditsResponse:
        """Burn promotional credits for a charge, before it is finalized."""
        stub = self._distribution.stub(CampaignsServiceStub)
        return await _answer(self._distribution, stub.SpendCredits, request, wait_seconds)

    async def return_credits(
        self, request: ReturnCreditsRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> ReturnCreditsResponse:
        """Put back what was burned for a charge that was given up."""
        stub = self._distribution.stub(CampaignsServiceStub)
        return await _answer(self._distribution, stub.ReturnCredits, request, wait_seconds)

    async def get_credits(
        self, request: GetCreditsRequest, *, wait_seconds: float = WAIT_SECONDS
    ) -> GetCreditsResponse:
        """Read what an account may spend."""
        stub = self._distribution.stub(CampaignsServiceStub)
        return await _answer(self._distribution, stub.GetCredits, request, wait_seconds)


def response_of(result: FinalizeResult) -> FinalizeResponse:
    """Return what came of one charge of a batch or stream. Raises Refused where it was refused."""
    if result.HasField("response"):
        return result.response
    refusal = result.refusal
    raise Refused(Code(refusal.code), refusal.reason, refusal.message, dict(refusal.data))


async def _answer(
    connection: Connection, call: _Call[_Request, _Response], request: _Request, wait_seconds: float
) -> _Response:
    try:
        return await call(request, timeout=wait_seconds, metadata=connection.metadata())
    except grpc.aio.AioRpcError as error:
        raise refusal_of(error) from None
