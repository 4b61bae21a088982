"""Wallets' short addresses, asked of score: what is shown of who has no name and has a wallet."""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

import grpc

from libs.telemetry import logger
from protos.score.v1 import score_pb2
from protos.score.v1.score_pb2_grpc import ScoreServiceStub

log = logger(__name__)

KEPT_S: Final = 2.0
"""How long an answer is remembered: less than it takes to report an erasure, which promises that memories are empty."""

_TIMEOUT_S: Final = 0.3


class ShortAddresses:
    """Asks once for many readers, and leaves score alone for a while when it does not answer."""

    def __init__(self, score: ScoreServiceStub) -> None:
        self._score = score
        self._known: dict[UUID, str] = {}
        self._shunned_until = 0.0

    async def of(self, account_refs: Collection[UUID]) -> Mapping[UUID, str]:
        """Short addresses of those who have a wallet; nobody's where score does not answer."""
        wanted = [ref for ref in account_refs if ref not in self._known]
        if wanted and time.monotonic() >= self._shunned_until:
            await self._ask(wanted)
        return {ref: short for ref in account_refs if (short := self._known.get(ref))}

    async def _ask(self, wanted: Collection[UUID]) -> None:
        request = score_pb2.ListShortAddressesRequest(account_refs=[str(ref) for ref in wanted])
        try:
            answer = await self._score.ListShortAddresses(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._shunned_until = time.monotonic() + KEPT_S
            log.warning("pseudonyms are shown instead of addresses", code=error.code().name)
            return
        if not self._known:
            asyncio.get_running_loop().call_later(KEPT_S, self._forget)
        self._known |= dict.fromkeys(wanted, "")
        self._known |= {UUID(each.account_ref): each.short_address for each in answer.addresses}

    def _forget(self) -> None:
        self._known = {}
