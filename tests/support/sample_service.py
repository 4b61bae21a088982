"""`python -m tests.support.sample_service`: the smallest service with a database, an outbox and a door."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from libs.refusals import NotFound
from libs.service import MESH, App, run
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc

SERVICE = "creator.distribution.v1.DistributionService"


class ModelUnknown(NotFound):
    """No such model."""


class Sample(distribution_pb2_grpc.DistributionServiceServicer):
    """Answers at once, or when the file is there that the charge is named for; the model may tell it to fail."""

    async def Finalize(  # noqa: N802 - the protocol's name
        self, request: distribution_pb2.FinalizeRequest, context: Any
    ) -> distribution_pb2.FinalizeResponse:
        if request.model == "none":
            raise ModelUnknown(model=request.model)
        print("answering", flush=True)  # noqa: T201 - tells the test
        while request.inference_charge_id and not Path(request.inference_charge_id).exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.02)
        return distribution_pb2.FinalizeResponse(rule_version=7)


async def crash() -> None:
    raise RuntimeError("the part is broken")


async def wire(app: App) -> None:
    # Named as one that publishes: its protos declare the topics.
    postgres = await app.open_postgres("referral", Path(os.environ["SAMPLE_MIGRATIONS"]))
    sample: Any = Sample  # abstract in its stubs: the other methods are left out on purpose
    registrar = distribution_pb2_grpc.add_DistributionServiceServicer_to_server
    app.serve(registrar, sample(), SERVICE, MESH)
    app.relay(postgres)
    if "crash" in sys.argv:
        app.run(crash, "broken")


if __name__ == "__main__":
    run("referral", wire)
