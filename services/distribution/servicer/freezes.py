"""The earnings RPCs of creator.distribution.v1.TreasuryService: what a standing does to a creator's money."""

from typing import Any

import grpc

from libs.clock import Clock
from libs.postgres import Postgres
from libs.timestamps import to_timestamp
from protos.distribution.v1 import treasury_pb2
from services.distribution.commands import freezes
from services.distribution.model.earnings import CreatorState
from services.distribution.rules import earnings as rules
from services.distribution.rules import queries

_Context = grpc.aio.ServicerContext[Any, Any]


class Freezes:
    """Mixed into the treasury's servicer."""

    _postgres: Postgres
    _clock: Clock

    async def FreezeEarnings(
        self, request: treasury_pb2.FreezeEarningsRequest, context: _Context
    ) -> treasury_pb2.FreezeEarningsResponse:
        state = await self._set_frozen(request.account_ref, request.standing_revision, frozen=True)
        return treasury_pb2.FreezeEarningsResponse(freeze=_freeze(state))

    async def UnfreezeEarnings(
        self, request: treasury_pb2.UnfreezeEarningsRequest, context: _Context
    ) -> treasury_pb2.UnfreezeEarningsResponse:
        state = await self._set_frozen(request.account_ref, request.standing_revision, frozen=False)
        return treasury_pb2.UnfreezeEarningsResponse(freeze=_freeze(state))

    async def ForfeitEarnings(
        self, request: treasury_pb2.ForfeitEarningsRequest, context: _Context
    ) -> treasury_pb2.ForfeitEarningsResponse:
        queries.check_ref(request.account_ref, "account_ref")
        order = rules.check_forfeiture(request.operator_id, request.reason)
        return await freezes.forfeit(self._postgres, self._clock, request, order)

    async def _set_frozen(self, account_ref: str, standing_revision: int, *, frozen: bool) -> CreatorState:
        return await freezes.set_frozen(
            self._postgres,
            self._clock,
            queries.check_ref(account_ref, "account_ref"),
            frozen=frozen,
            standing_revision=queries.check_revision(standing_revision),
        )


def _freeze(state: CreatorState) -> treasury_pb2.EarningsFreeze:
    return treasury_pb2.EarningsFreeze(
        account_ref=state.creator_ref,
        frozen=state.frozen,
        standing_revision=state.standing_revision,
        changed_at=to_timestamp(state.changed_at) if state.changed_at else None,
    )
