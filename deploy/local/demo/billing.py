"""Billing: one `Finalize` by gRPC for every charge, as the internal system would call it."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

import grpc

from deploy.local.demo.economy import Charge
from protos.distribution.v1.distribution_pb2 import FinalizeRequest, FinalizeResponse
from protos.distribution.v1.distribution_pb2_grpc import DistributionServiceStub

CALLERS = 64
ATTEMPTS = 60
TRY_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def request(charge: Charge, first_charge_at: datetime) -> FinalizeRequest:
    """The call for one charge; the same charge and anchor give the same bytes."""
    finalize = FinalizeRequest(
        inference_charge_id=charge.inference_charge_id,
        payer_account_id=charge.payer_account_id,
        community_id=charge.community_id,
        revenue_micro=charge.revenue_micro,
        provider_cost_micro=charge.provider_cost_micro,
        model=charge.model,
        model_tier=charge.model_tier,
    )
    finalize.finalized_at.FromDatetime(first_charge_at + charge.at)
    return finalize


async def finalize_all(
    address: str,
    charges: Iterable[Charge],
    first_charge_at: datetime,
    answered: Callable[[Charge, FinalizeResponse], None],
) -> None:
    """Sends every charge from 64 callers and hands each answer over; an outage is waited out, a refusal is an error."""
    options = [("grpc.service_config", "{}"), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = DistributionServiceStub(channel)
        waiting = iter(charges)

        async def caller() -> None:
            # Callers share one iterator: whoever is free takes the next charge.
            for charge in waiting:
                answered(charge, await _finalize(stub, request(charge, first_charge_at)))

        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())


async def _finalize(stub: DistributionServiceStub, finalize: FinalizeRequest) -> FinalizeResponse:
    for _ in range(ATTEMPTS):
        try:
            return await stub.Finalize(finalize, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() not in TRY_AGAIN:
                raise
        # The same id may be sent again at any time: it is paid once.
        await asyncio.sleep(0.5)
    raise TimeoutError(f"distribution did not answer {finalize.inference_charge_id}")
