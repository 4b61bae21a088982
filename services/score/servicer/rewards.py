"""Rewards: listed, explained, proved."""

import json
from uuid import UUID

from libs.ethereum import checksummed
from libs.postgres import Connection
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.score.v1 import score_pb2
from services.score.model.runs import Inclusion, Reward, Run, RunState, WalletPart
from services.score.rules import requests
from services.score.rules import rewards as rules
from services.score.rules.proof import Step
from services.score.rules.wallets import shortened
from services.score.servicer.base import Base
from services.score.store import rewards, runs

_NOBODY = UUID(int=0)
_PAGE, _MAX_PAGE = 50, 100


class Rewards(Base):
    """What accounts got, and why."""

    async def ListRewards(
        self, request: score_pb2.ListRewardsRequest, context: Context
    ) -> score_pb2.ListRewardsResponse:
        account_id = requests.check_account_id(request.account_id)
        size = requests.check_size(request.page_size, most=_MAX_PAGE, usual=_PAGE)
        below = requests.read_id_token(request.page_token)
        account_ref = await self._account_refs.known(account_id)
        async with self._postgres.transaction(readonly=True) as connection:
            found = await rewards.history(connection, account_ref or _NOBODY, below, size + 1)
            listed = [(await _committed(connection, run_id), reward) for run_id, reward in found[:size]]
        return score_pb2.ListRewardsResponse(
            rewards=[_reward(run, reward) for run, reward in listed],
            next_page_token=found[size - 1][0].hex if len(found) > size else "",
        )

    async def ExplainReward(
        self, request: score_pb2.ExplainRewardRequest, context: Context
    ) -> score_pb2.ExplainRewardResponse:
        account_id = requests.check_account_id(request.account_id)
        run_id = requests.check_id(request.run_id, "run_id")
        account_ref = await self._account_refs.known(account_id) or _NOBODY
        async with self._postgres.transaction(readonly=True) as connection:
            run = await _committed(connection, run_id)
            standing = await runs.standing(connection, run_id, account_ref)
            reward = await rewards.find(connection, run_id, account_ref)
            parts = await runs.wallet_parts(connection, run_id, account_ref)
        outcome = standing.outcome if standing else Inclusion.NO_WALLET
        if standing is None and parts:
            outcome = Inclusion.LINKED_TOO_LATE
        return score_pb2.ExplainRewardResponse(
            outcome=score_pb2.InclusionOutcome.ValueType(outcome),
            reward=_reward(run, reward or Reward(account_ref, 0, 0, b"", 0)),
            wallets=[_part(each) for each in parts],
            wallet_minimum=str(run.terms.wallet_minimum),
            account_minimum=str(run.terms.account_minimum),
        )

    async def GetProof(self, request: score_pb2.GetProofRequest, context: Context) -> score_pb2.GetProofResponse:
        account_id = requests.check_account_id(request.account_id)
        run_id = requests.check_id(request.run_id, "run_id")
        account_ref = await self._account_refs.known(account_id) or _NOBODY
        async with self._postgres.transaction(readonly=True) as connection:
            run = await _committed(connection, run_id)
            reward = await rewards.find(connection, run_id, account_ref)
            if reward is None:
                raise rules.NotRewarded
            nodes = await rewards.nodes(connection, run_id, rules.siblings(reward.leaf, run.accounts))
        steps = rules.path(reward.leaf, run.accounts, nodes)
        return score_pb2.GetProofResponse(
            document=_document(run, reward, steps),
            leaf=score_pb2.ProofLeaf(
                salt=reward.salt,
                account_ref=str(account_ref),
                score=str(reward.score),
                reward_micro=reward.reward_micro,
            ),
            path=[
                score_pb2.ProofStep(
                    sibling_hash=step.sibling.hash, sibling_micro=step.sibling.sum_micro, sibling_left=step.left
                )
                for step in steps
            ],
            root=_root(run),
        )

    async def GetPublicRun(
        self, request: score_pb2.GetPublicRunRequest, context: Context
    ) -> score_pb2.GetPublicRunResponse:
        async with self._postgres.connection() as connection:
            if request.run_id:
                run = await _committed(connection, requests.check_id(request.run_id, "run_id"))
            else:
                last = await runs.last_committed(connection)
                if last is None:
                    raise requests.RunUnknown("No run was committed yet.")
                run = last
        return score_pb2.GetPublicRunResponse(
            period=run.period,
            root=_root(run),
            transfer_id=run.transfer_id or "",
            committed_at=to_timestamp(run.ended_at) if run.ended_at else None,
        )


async def _committed(connection: Connection, run_id: UUID) -> Run:
    """To everybody but operators a run that is not committed is none."""
    run = await runs.find(connection, run_id)
    if run is None or run.state is not RunState.COMMITTED:
        raise requests.RunUnknown
    return run


def _reward(run: Run, reward: Reward) -> score_pb2.Reward:
    return score_pb2.Reward(
        run_id=str(run.run_id),
        period=run.period,
        score=str(reward.score),
        total_score=str(run.total_score),
        pool_micro=run.pool_micro,
        reward_micro=reward.reward_micro,
        rewarded_at=to_timestamp(run.ended_at) if run.ended_at else None,
    )


def _part(part: WalletPart) -> score_pb2.ExplainedWallet:
    spelled = checksummed(part.address) if part.address else ""
    return score_pb2.ExplainedWallet(
        wallet_address=spelled if part.linked or not spelled else shortened(spelled),
        score=str(part.score),
        outcome=score_pb2.InclusionOutcome.ValueType(part.outcome),
    )


def _root(run: Run) -> score_pb2.ProofRoot:
    return score_pb2.ProofRoot(
        run_id=str(run.run_id), root_hash=run.root_hash or b"", root_micro=run.pool_micro, leaves=run.accounts
    )


def _document(run: Run, reward: Reward, steps: list[Step]) -> str:
    """The proof as `rules/proof.py` reads it."""
    return json.dumps(
        {
            "version": "1",
            "run_id": str(run.run_id),
            "leaf": {
                "salt": reward.salt.hex(),
                "account_ref": str(reward.account_ref),
                "score": str(reward.score),
                "reward_micro": str(reward.reward_micro),
            },
            "path": [
                {
                    "hash": step.sibling.hash.hex(),
                    "sum_micro": str(step.sibling.sum_micro),
                    "side": "left" if step.left else "right",
                }
                for step in steps
            ],
            "root": {
                "hash": (run.root_hash or b"").hex(),
                "sum_micro": str(run.pool_micro),
                "leaves": str(run.accounts),
            },
        },
        indent=2,
    )
