"""A run's way through distribution: open, divide, stage, commit; or abandon.

Each step is written down before or after the call that it makes, and each call names the run, so that whoever takes
a step again, after a crash or beside another replica, does what was done. Distribution's staged grant decides: what it
has committed is committed, whatever this side thought.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.rpc import Refused, refusal_of
from libs.telemetry import logger
from protos.distribution.v1 import campaigns_pb2 as pb
from protos.distribution.v1 import campaigns_pb2_grpc
from services.score import metrics
from services.score.commands import runs as commands
from services.score.model import Order
from services.score.model.runs import Reward, Run, RunState
from services.score.rules import rewards as rules
from services.score.store import rewards, runs

log = logger(__name__)

_BATCH: Final = 1000
_BATCHES: Final = 4
_STEPS_MAX: Final = 100_000
_COMMIT_S: Final = 120.0
_STAGE_S: Final = 30.0
_UNDER_WAY: Final = frozenset({RunState.FROZEN, RunState.ALLOCATING, RunState.STAGED})
_NO_MONEY: Final = frozenset({"BUDGET_EXHAUSTED", "INSUFFICIENT_BALANCE"})
_COMMITTED: Final = "STAGED_GRANT_COMMITTED"
_ABANDONED: Final = "STAGED_GRANT_ABANDONED"


class Advancing:
    """Takes runs from frozen to committed, or to aborted."""

    def __init__(self, postgres: Postgres, clock: Clock, campaigns: campaigns_pb2_grpc.CampaignsServiceStub) -> None:
        self._postgres = postgres
        self._clock = clock
        self._campaigns = campaigns

    async def advance_all(self) -> None:
        """Take every run that was let go as far as it can go now."""
        async with self._postgres.connection() as connection:
            under_way = await runs.list_under_way(connection)
        for run in under_way:
            await self.advance(run.run_id)

    async def advance(self, run_id: UUID) -> Run:
        """Take one run as far as it can go now. What is refused for another reason than money is waited out."""
        for _ in range(_STEPS_MAX):
            async with self._postgres.connection() as connection:
                run = await runs.find(connection, run_id)
            if run is None or run.state not in _UNDER_WAY:
                break
            try:
                await self._step(run)
            except grpc.aio.AioRpcError as error:
                refused = refusal_of(error)
                if not await self._refused(run, refused):
                    break
        if run is None:
            raise AssertionError("runs are never deleted")
        return run

    async def available_micro(self) -> int:
        """What the pool holds that is not reserved, in micro-USD."""
        page = await self._campaigns.ListCampaigns(
            pb.ListCampaignsRequest(type=pb.CAMPAIGN_TYPE_SCORE_WEIGHTED, state=pb.CAMPAIGN_STATE_ACTIVE, page_size=1)
        )
        return sum(campaign.available_micro for campaign in page.campaigns)

    async def abort(self, run: Run, order: Order) -> Run:
        """Give up a run that distribution may know of. Where distribution has committed it, it is committed.

        What may be under way is opened first: then it is there, and abandoned for ever.
        """
        try:
            await self._campaigns.OpenGrant(_opening(run))
            await self._campaigns.AbandonGrant(
                pb.AbandonGrantRequest(staged_grant_id=str(run.run_id), reason="ABORTED_BY_OPERATOR")
            )
        except grpc.aio.AioRpcError as error:
            refused = refusal_of(error)
            if refused.reason == _COMMITTED:
                return await self.advance(run.run_id)
            if refused.reason not in _NO_MONEY:
                raise
        return await self._abort(run.run_id, "ABORTED_BY_OPERATOR", order)

    async def _step(self, run: Run) -> None:
        if run.state is RunState.FROZEN:
            await self._open(run)
        elif run.state is RunState.ALLOCATING and run.root_hash is None:
            await self._divide(run)
        elif run.state is RunState.ALLOCATING:
            await self._stage(run)
        else:
            await self._commit(run)

    async def _open(self, run: Run) -> None:
        if not run.accounts:
            await self._abort(run.run_id, "NO_PARTICIPANTS")
            return
        if not run.opening:
            await self._mark_opening(run.run_id)
            return
        answer = await self._campaigns.OpenGrant(_opening(run))
        await self._record_opened(run.run_id, answer.staged_grant.reserved_micro)

    @retried
    async def _mark_opening(self, run_id: UUID) -> None:
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is not None and run.state is RunState.FROZEN:
                await runs.save(connection, run._replace(opening=True, reason=""))

    @retried
    async def _record_opened(self, run_id: UUID, pool_micro: int) -> None:
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is None or run.state is not RunState.FROZEN:
                return
            run = run._replace(state=RunState.ALLOCATING, pool_micro=pool_micro, reason="")
            await runs.save(connection, run)
            await commands.announce(connection, run, self._clock.now())

    async def _divide(self, run: Run) -> None:
        """Rewards, salts and tree are made beside the loop, for they take seconds at 100,000 accounts."""
        async with self._postgres.connection() as connection:
            counting = await runs.participants(connection, run.run_id)
        rows, tree = await asyncio.to_thread(rules.rewards, run.pool_micro, counting, _salt)
        await self._record_divided(run.run_id, rows, tree)

    @retried
    async def _record_divided(self, run_id: UUID, rows: Sequence[Reward], tree: rules.Tree) -> None:
        """Whoever is first: there is one set of salts, and one root."""
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is None or run.state is not RunState.ALLOCATING or run.root_hash is not None:
                return
            await rewards.insert(connection, run_id, rows, tree)
            await runs.save(connection, run._replace(root_hash=rules.published_hash(run_id, tree)))

    async def _stage(self, run: Run) -> None:
        """Stage some batches side by side: while one is written there, the next is packed here."""
        async with self._postgres.connection() as connection:
            rows = await rewards.by_leaf(connection, run.run_id, run.staged, _BATCH * _BATCHES)
        paid = [each for each in rows if each.reward_micro]
        try:
            async with asyncio.TaskGroup() as tasks:
                for start in range(0, len(paid), _BATCH):
                    tasks.create_task(self._send(run.run_id, paid[start : start + _BATCH]))
        except* grpc.aio.AioRpcError as group:
            raise group.exceptions[0] from None
        staged = run.staged + len(rows)
        await self._record_staged(run.run_id, staged, done=staged == run.accounts)

    async def _send(self, run_id: UUID, batch: Sequence[Reward]) -> None:
        grants = [
            pb.Grant(
                grant_id=rules.grant_id(run_id, each.account_ref),
                account_ref=str(each.account_ref),
                amount_micro=each.reward_micro,
            )
            for each in batch
        ]
        request = pb.StageGrantsRequest(staged_grant_id=str(run_id), grants=grants)
        await self._campaigns.StageGrants(request, timeout=_STAGE_S)

    @retried
    async def _record_staged(self, run_id: UUID, staged: int, *, done: bool) -> None:
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is None or run.state is not RunState.ALLOCATING or run.staged >= staged:
                return
            run = run._replace(staged=staged, state=RunState.STAGED if done else run.state, reason="")
            await runs.save(connection, run)
            if done:
                await commands.announce(connection, run, self._clock.now())

    async def _commit(self, run: Run) -> None:
        async with self._postgres.connection() as connection:
            count = await rewards.count_paid(connection, run.run_id)
        answer = await self._campaigns.CommitGrant(
            pb.CommitGrantRequest(staged_grant_id=str(run.run_id), count=count, total_micro=run.pool_micro),
            timeout=_COMMIT_S,
        )
        await self._record_committed(run.run_id, answer.staged_grant.transfer_id)

    @retried
    async def _record_committed(self, run_id: UUID, transfer_id: str) -> None:
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is None or run.state is not RunState.STAGED:
                return
            await commands.finish(connection, run, RunState.COMMITTED, "", self._clock.now(), transfer_id)
        metrics.REWARDED.inc(run.pool_micro)

    async def _refused(self, run: Run, refused: Refused) -> bool:
        """Whether there is more to do now."""
        if refused.reason == _ABANDONED:
            await self._abort(run.run_id, "ABANDONED")
            return True
        if refused.reason in _NO_MONEY:
            await self._abandon(run.run_id)
            await self._abort(run.run_id, "INSUFFICIENT_FUNDS")
            return True
        log.warning("a run waits", run_id=str(run.run_id), reason=refused.reason)
        await self._record_waiting(run.run_id, refused.reason)
        return False

    async def _abandon(self, run_id: UUID) -> None:
        try:
            await self._campaigns.AbandonGrant(
                pb.AbandonGrantRequest(staged_grant_id=str(run_id), reason="INSUFFICIENT_FUNDS")
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    @retried
    async def _record_waiting(self, run_id: UUID, reason: str) -> None:
        async with self._postgres.transaction() as connection:
            run = await runs.lock(connection, run_id)
            if run is not None and run.state in _UNDER_WAY and run.reason != reason:
                await runs.save(connection, run._replace(reason=reason))

    @retried
    async def _abort(self, run_id: UUID, reason: str, order: Order | None = None) -> Run:
        async with self._postgres.transaction() as connection:
            run = await commands.locked(connection, run_id)
            if run.state not in _UNDER_WAY:
                return run
            return await self._aborted(connection, run, reason, order)

    async def _aborted(self, connection: Connection, run: Run, reason: str, order: Order | None) -> Run:
        now = self._clock.now()
        await runs.note(connection, run.run_id, "aborted", order or Order("job:run", reason), now)
        return await commands.finish(connection, run, RunState.ABORTED, reason, now)


def _opening(run: Run) -> pb.OpenGrantRequest:
    return pb.OpenGrantRequest(
        staged_grant_id=str(run.run_id),
        type=pb.CAMPAIGN_TYPE_SCORE_WEIGHTED,
        wanted_micro=run.terms.configured_micro,
        accept_less=True,
    )


def _salt() -> bytes:
    return secrets.token_bytes(rules.SALT_BYTES)
