"""By which instant everything that was published is applied."""

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import grpc

from libs.clock import Clock
from libs.postgres import Postgres, is_fault
from libs.telemetry import logger
from protos.events.v1.events_pb2 import ListHeadsRequest
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from services.leaderboard import metrics
from services.leaderboard.commands import progress as progress_commands
from services.leaderboard.store import progress

log = logger(__name__)

_TIMEOUT_S: Final = 5.0
_GOALS_MAX: Final = 60

_Heads = Mapping[tuple[str, int], int]


class CatchingUp:
    """Finds out by which instant everything that was published is applied: what boards state as `as_of`.

    It notes what the publishers' newest positions are, and once they are passed the boards hold everything that had
    been published by then. An instant goes with the positions of the look after it, by when the relay of a publisher
    has numbered what was committed at that instant. Every replica does it; the latest mark stands.
    """

    def __init__(
        self, postgres: Postgres, clock: Clock, logs: Mapping[str, EventLogServiceStub], poll_seconds: float
    ) -> None:
        """`logs` are the event logs of the topics listened to, by topic."""
        self._postgres = postgres
        self._clock = clock
        self._logs = logs
        self._poll_seconds = poll_seconds
        self._goals: deque[tuple[datetime, _Heads]] = deque()
        self._looked_at: datetime | None = None

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.look()
            except Exception as error:
                if not isinstance(error, grpc.aio.AioRpcError) and not is_fault(error):
                    raise
                log.debug("progress not known", error=type(error).__name__)
            await asyncio.sleep(self._poll_seconds)

    async def look(self) -> None:
        """Notes how far the publishers are, and marks the newest instant whose events are all applied."""
        now, before = self._clock.now(), self._looked_at
        heads = await self._heads()
        self._looked_at = now
        # When there is no room, what was noted first is nearest to be reached.
        if before is not None and len(self._goals) < _GOALS_MAX:
            self._goals.append((before, heads))
        async with self._postgres.connection() as connection:
            positions = await progress.positions(connection)
        reached: datetime | None = None
        while self._goals and all(positions.get(each, 0) >= head for each, head in self._goals[0][1].items()):
            reached = self._goals.popleft()[0]
        if reached is not None:
            await progress_commands.mark_caught_up(self._postgres, reached)
            metrics.CAUGHT_UP.set(reached.timestamp())

    async def _heads(self) -> _Heads:
        heads: dict[tuple[str, int], int] = {}
        for topic, event_log in self._logs.items():
            answer = await event_log.ListHeads(ListHeadsRequest(topic=topic), timeout=_TIMEOUT_S)
            heads |= {(topic, head.partition): head.position for head in answer.heads if head.position}
        return heads
