"""creator.distribution.v1.DistributionService: where billing comes in."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from libs.postgres import Postgres
from libs.refusals import Refusal
from libs.rpc.door import Context
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc
from services.distribution.commands.finalize import Finalizer, Unread, finalize, finalize_batch
from services.distribution.commands.reading import read_charge
from services.distribution.commands.stream import Asked, Settled, finalize_stream
from services.distribution.model import Charge
from services.distribution.rules import queries, refusals
from services.distribution.rules.charges import check_batch_size
from services.distribution.servicer.messages import write_answer, write_distribution, write_result
from services.distribution.settings import Settings
from services.distribution.store import journal

_BILLING: Final = frozenset({"billing"})

CALLERS: Final = {
    "Finalize": _BILLING,
    "FinalizeBatch": _BILLING,
    "FinalizeStream": _BILLING,
    "GetDistribution": frozenset({"billing", "gateway"}),
}
"""Who may call what, by the name in the caller's certificate."""

QUIET: Final = frozenset({"Finalize", "FinalizeBatch"})
"""The hot path: no log line and no span per call."""


class DistributionServicer(distribution_pb2_grpc.DistributionServiceServicer):
    """creator.distribution.v1.DistributionService."""

    def __init__(self, postgres: Postgres, finalizer: Finalizer, settings: Settings) -> None:
        self._postgres = postgres
        self._finalizer = finalizer
        self._in_flight_max = settings.stream_in_flight_max

    async def Finalize(
        self, request: distribution_pb2.FinalizeRequest, context: Context
    ) -> distribution_pb2.FinalizeResponse:
        return write_answer(await finalize(self._finalizer, read_charge(request)))

    async def FinalizeBatch(
        self, request: distribution_pb2.FinalizeBatchRequest, context: Context
    ) -> distribution_pb2.FinalizeBatchResponse:
        check_batch_size(len(request.charges))
        charges = [read_charge(charge) for charge in request.charges]
        outcomes = await finalize_batch(self._finalizer, charges)
        return distribution_pb2.FinalizeBatchResponse(
            results=[
                write_result(charge.inference_charge_id, outcome)
                for charge, outcome in zip(charges, outcomes, strict=True)
            ]
        )

    async def FinalizeStream(  # type: ignore[override] # writes its answers itself: they come when they come
        self, request_iterator: AsyncIterator[distribution_pb2.FinalizeStreamRequest], context: Context
    ) -> None:
        async def write(settled: Sequence[Settled], together: bool) -> None:  # noqa: FBT001 - its caller names it
            results = [write_result(*each) for each in settled]
            if together:
                await context.write(distribution_pb2.FinalizeStreamResponse(results=results))
            else:
                await context.write(distribution_pb2.FinalizeStreamResponse(result=results[0]))

        await finalize_stream(self._finalizer, _asked(request_iterator), write, in_flight_max=self._in_flight_max)

    async def GetDistribution(
        self, request: distribution_pb2.GetDistributionRequest, context: Context
    ) -> distribution_pb2.GetDistributionResponse:
        async with self._postgres.connection() as connection:
            found = await journal.find(connection, queries.check_charge_id(request.inference_charge_id))
        if found is None:
            raise refusals.DistributionUnknown
        return distribution_pb2.GetDistributionResponse(distribution=write_distribution(found))


async def _asked(messages: AsyncIterator[distribution_pb2.FinalizeStreamRequest]) -> AsyncIterator[Asked]:
    async for message in messages:
        charges = message.charges
        if charges:
            yield Asked(_several(charges), together=True)
        if not charges or message.HasField("charge"):
            yield Asked((read_charge(message.charge),), together=False)


def _several(charges: Sequence[distribution_pb2.FinalizeRequest]) -> Sequence[Charge | Unread]:
    """Charges of one message. Where there are too many, each is told so: a stream has no other way to answer."""
    try:
        check_batch_size(len(charges))
    except Refusal as refusal:
        return [Unread(charge.inference_charge_id, refusal) for charge in charges]
    return [read_charge(charge) for charge in charges]
