"""Reward runs, for operators."""

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.score.v1 import admin_pb2, admin_pb2_grpc, events_pb2
from services.score.commands import runs as commands
from services.score.commands.advancing import Advancing
from services.score.model.runs import Reward, Run, RunState, Terms
from services.score.rules import requests
from services.score.rules import rewards as reward_rules
from services.score.rules import runs as rules
from services.score.settings import Settings
from services.score.store import rewards, runs

_PAGE, _MAX_PAGE = 50, 100
_LARGEST = 100
_ALLOCATIONS, _MAX_ALLOCATIONS = 200, 1000


class Runs(admin_pb2_grpc.ScoreAdminServiceServicer):
    """Tried, frozen, let go, aborted, looked at."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings
    _advancing: Advancing

    async def PreviewRun(self, request: admin_pb2.PreviewRunRequest, context: Context) -> admin_pb2.PreviewRunResponse:
        period = rules.check_period(request.period, self._settings.run_cadence)
        terms = self._settings.terms
        if request.HasField("terms"):
            asked = request.terms
            terms = rules.check_terms(asked.configured_micro, asked.wallet_minimum, asked.account_minimum)
        available_micro = await self._advancing.available_micro()
        tried = await commands.preview(
            self._postgres, self._clock, period, terms, max_age_days=self._settings.score_max_age_days
        )
        pool_micro = min(available_micro, terms.configured_micro)
        counting = tried.trial.participants
        parts = reward_rules.divide(pool_micro, counting) if counting else {}
        scores = {each.account_ref: each.score for each in counting}
        largest = sorted(parts.items(), key=lambda part: (-part[1], part[0]))[:_LARGEST]
        return admin_pb2.PreviewRunResponse(
            terms=_terms(terms),
            pool_micro=pool_micro,
            accounts=len(counting),
            excluded=[
                admin_pb2.ExcludedCount(reason=outcome.name, accounts=count)
                for outcome, count in sorted(tried.trial.excluded.items())
            ],
            total_score=str(sum(scores.values())),
            largest=[
                admin_pb2.Allocation(
                    account_ref=str(account_ref), score=str(scores[account_ref]), reward_micro=reward_micro
                )
                for account_ref, reward_micro in largest
            ],
            obstacles=tried.obstacles + ([] if pool_micro else ["INSUFFICIENT_FUNDS"]),
        )

    async def FreezeRun(self, request: admin_pb2.FreezeRunRequest, context: Context) -> admin_pb2.FreezeRunResponse:
        period = rules.check_period(request.period, self._settings.run_cadence)
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, admin_pb2.FreezeRunResponse)
        settings = self._settings
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            run = await commands.freeze(
                connection, self._clock, period, settings.terms, order, max_age_days=settings.score_max_age_days
            )
            return await once.remember(connection, admin_pb2.FreezeRunResponse(run=_run(run)))

    async def StartRun(self, request: admin_pb2.StartRunRequest, context: Context) -> admin_pb2.StartRunResponse:
        run_id = requests.check_id(request.run_id, "run_id")
        order = requests.check_order(request.operator_id, request.reason)
        once = Once(request.request_id, request, admin_pb2.StartRunResponse)
        async with self._postgres.transaction() as connection:
            if earlier := await once.replay(connection):
                return earlier
            run = await commands.start(connection, self._clock, run_id, order)
            return await once.remember(connection, admin_pb2.StartRunResponse(run=_run(run)))

    async def AbortRun(self, request: admin_pb2.AbortRunRequest, context: Context) -> admin_pb2.AbortRunResponse:
        # Its natural key is the run: a run is aborted once, or committed.
        run_id = requests.check_id(request.run_id, "run_id")
        order = requests.check_order(request.operator_id, request.reason)
        run = await commands.mark_aborting(self._postgres, self._clock, run_id, order)
        if run.state is not RunState.ABORTED:
            run = await self._advancing.abort(run, order)
        rules.check_abortable(run)
        return admin_pb2.AbortRunResponse(run=_run(run))

    async def GetRun(self, request: admin_pb2.GetRunRequest, context: Context) -> admin_pb2.GetRunResponse:
        run_id = requests.check_id(request.run_id, "run_id")
        async with self._postgres.connection() as connection:
            run = await runs.find(connection, run_id)
        if run is None:
            raise requests.RunUnknown
        return admin_pb2.GetRunResponse(run=_run(run))

    async def ListRuns(self, request: admin_pb2.ListRunsRequest, context: Context) -> admin_pb2.ListRunsResponse:
        size = requests.check_size(request.page_size, most=_MAX_PAGE, usual=_PAGE)
        below = requests.read_id_token(request.page_token)
        async with self._postgres.connection() as connection:
            found = await runs.list_page(connection, below, size + 1)
        return admin_pb2.ListRunsResponse(
            runs=[_run(run) for run in found[:size]],
            next_page_token=found[size - 1].run_id.hex if len(found) > size else "",
        )

    async def ListAllocations(
        self, request: admin_pb2.ListAllocationsRequest, context: Context
    ) -> admin_pb2.ListAllocationsResponse:
        run_id = requests.check_id(request.run_id, "run_id")
        size = requests.check_size(request.page_size, most=_MAX_ALLOCATIONS, usual=_ALLOCATIONS)
        after = requests.read_largest_token(request.page_token)
        async with self._postgres.connection() as connection:
            if await runs.find(connection, run_id) is None:
                raise requests.RunUnknown
            found = await rewards.largest(connection, run_id, after, size + 1)
        return admin_pb2.ListAllocationsResponse(
            allocations=[_allocation(each) for each in found[:size]],
            next_page_token=(
                f"{found[size - 1].reward_micro}.{found[size - 1].account_ref.hex}" if len(found) > size else ""
            ),
        )


def _terms(terms: Terms) -> admin_pb2.RunTerms:
    return admin_pb2.RunTerms(
        configured_micro=terms.configured_micro,
        wallet_minimum=str(terms.wallet_minimum),
        account_minimum=str(terms.account_minimum),
    )


def _allocation(reward: Reward) -> admin_pb2.Allocation:
    return admin_pb2.Allocation(
        account_ref=str(reward.account_ref), score=str(reward.score), reward_micro=reward.reward_micro
    )


def _run(run: Run) -> admin_pb2.Run:
    return admin_pb2.Run(
        run_id=str(run.run_id),
        period=run.period,
        state=events_pb2.RunState.ValueType(run.state),
        terms=_terms(run.terms),
        snapshot_id=str(run.snapshot_id),
        accounts=run.accounts,
        total_score=str(run.total_score),
        pool_micro=run.pool_micro,
        staged=run.staged,
        root_hash=run.root_hash or b"",
        transfer_id=run.transfer_id or "",
        reason=run.reason,
        operator_id=run.operator_id,
        frozen_at=to_timestamp(run.frozen_at),
        ended_at=to_timestamp(run.ended_at) if run.ended_at else None,
    )
