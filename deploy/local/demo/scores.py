"""Reputation: people link wallets, an operator brings the holders' scores, and each week's pool is shared by them."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import grpc
from eth_account import Account
from eth_account.messages import encode_defunct

from deploy.local.demo.economy import DATA, Economy
from deploy.local.demo.patience import patience
from libs.periods import week_of
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.score.v1 import admin_pb2, events_pb2, score_pb2
from protos.score.v1.admin_pb2_grpc import ScoreAdminServiceStub
from protos.score.v1.score_pb2_grpc import ScoreServiceStub
from services.score.rules import proof

HOLDERS: Final = DATA / "token_holders_hunt_mainnet.csv"
DECIMALS: Final = 14
EVERY: Final = 40
"""Every fortieth of the real holders is somebody of the demo: of the others nobody has the key."""
CHAIN_ID: Final = 1

_WAIT_S: Final = 180
_ASKED: Final[dict[str, str]] = {"operator_id": "operator-01", "reason": "scores of the demo"}


@dataclass(frozen=True, slots=True)
class Rewards:
    """What came of a run: who got what, that it sums to the pool, and whether everybody's proof holds."""

    period: str
    pool_micro: int
    by_account: Mapping[str, int]
    proved: bool


def holders(economy: Economy) -> list[str]:
    """Who links a wallet: creators and some payers."""
    return [creator.account_id for creator in economy.creators] + [
        sign_up.account_id for sign_up in economy.sign_ups[:12]
    ]


def wallet(number: int) -> Any:
    """The wallet of the demo's n-th holder: a key that everybody knows, and that holds nothing anywhere."""
    return Account.from_key((20231116 * 1000 + number).to_bytes(32))


def scores_file(economy: Economy) -> bytes:
    """The real list of holders, every fortieth of whom is somebody of the demo."""
    lines = HOLDERS.read_text().splitlines()
    for number, _ in enumerate(holders(economy)):
        place = 2 + number * EVERY
        lines[place] = f"{wallet(number).address},{lines[place].split(',')[1]}"
    return ("\n".join(lines) + "\n").encode()


async def open_pool(distribution: str) -> None:
    """An operator lets the score campaign grant; its budget is the pool that the foundation funds."""
    async with grpc.aio.insecure_channel(distribution) as channel:
        stub = CampaignsServiceStub(channel)
        create = campaigns_pb2.CreateCampaignRequest(
            request_id="demo-score-create",
            name="score rewards",
            type=campaigns_pb2.CAMPAIGN_TYPE_SCORE_WEIGHTED,
            operator_id=_ASKED["operator_id"],
            reason=_ASKED["reason"],
        )
        campaign_id = (await stub.CreateCampaign(create, timeout=10)).campaign.campaign_id
        activate = campaigns_pb2.ActivateCampaignRequest(
            request_id="demo-score-activate", campaign_id=campaign_id, **_ASKED
        )
        await stub.ActivateCampaign(activate, timeout=10)


async def link_wallets(score: str, economy: Economy) -> None:
    """Everybody signs the text that the service gives; who is linked already stays so."""
    async with grpc.aio.insecure_channel(score) as channel:
        stub = ScoreServiceStub(channel)
        for number, account_id in enumerate(holders(economy)):
            who = wallet(number)
            asked = await stub.CreateChallenge(
                score_pb2.CreateChallengeRequest(account_id=account_id, wallet_address=who.address, chain_id=CHAIN_ID),
                timeout=10,
            )
            signature = who.sign_message(encode_defunct(text=asked.text)).signature
            request = score_pb2.LinkWalletRequest(
                account_id=account_id,
                wallet_address=who.address,
                chain_id=CHAIN_ID,
                nonce=asked.nonce,
                signature=bytes(signature).hex(),
            )
            await stub.LinkWallet(request, timeout=10)


async def bring_scores(score: str, economy: Economy, taken_at: datetime) -> None:
    """The holders' list, once: a second run sends the same request and gets the first answer."""
    header = admin_pb2.ImportHeader(
        request_id="demo-scores",
        period=week_of(taken_at.date()).name,
        format=admin_pb2.SCORE_FORMAT_CSV,
        decimals=DECIMALS,
        taken_at=to_timestamp(taken_at),
        source=HOLDERS.name,
        operator_id=_ASKED["operator_id"],
        reason=_ASKED["reason"],
    )

    def parts() -> Iterator[admin_pb2.ImportScoresRequest]:
        yield admin_pb2.ImportScoresRequest(header=header)
        yield admin_pb2.ImportScoresRequest(chunk=scores_file(economy))

    async with grpc.aio.insecure_channel(score) as channel:
        answer = await ScoreAdminServiceStub(channel).ImportScores(parts(), timeout=30)
    if answer.score_import.state != admin_pb2.IMPORT_STATE_ACCEPTED:
        raise TimeoutError(f"the scores were not taken: {answer.score_import.bad_lines} bad lines")


async def rewarded(score: str, economy: Economy, began_at: datetime) -> list[Rewards]:
    """The runs of the weeks since the first charge, once each is over; those without money gave nothing."""
    weeks = {week_of(at.date()).name for at in (began_at, began_at + economy.duration)}
    async with grpc.aio.insecure_channel(score) as channel:
        admin, stub = ScoreAdminServiceStub(channel), ScoreServiceStub(channel)
        async with patience(_WAIT_S, "the score run is over"):
            while True:
                runs = list((await admin.ListRuns(admin_pb2.ListRunsRequest(page_size=100), timeout=10)).runs)
                ended = {events_pb2.RUN_STATE_COMMITTED, events_pb2.RUN_STATE_ABORTED}
                if weeks <= {run.period for run in runs} and all(run.state in ended for run in runs):
                    break
                await asyncio.sleep(0.2)
        committed = [run for run in runs if run.state == events_pb2.RUN_STATE_COMMITTED]
        return [await _rewards(stub, economy, run) for run in committed]


async def _rewards(stub: ScoreServiceStub, economy: Economy, run: admin_pb2.Run) -> Rewards:
    by_account: dict[str, int] = {}
    root = (await stub.GetPublicRun(score_pb2.GetPublicRunRequest(run_id=run.run_id), timeout=10)).root
    for account_id in holders(economy):
        request = score_pb2.GetProofRequest(account_id=account_id, run_id=run.run_id)
        document = json.loads((await stub.GetProof(request, timeout=10)).document)
        # Raises ProofInvalid for a proof that does not hold.
        by_account[account_id] = proof.verify(document, root.root_hash).reward_micro
    proved = sum(by_account.values()) == root.root_micro == run.pool_micro
    return Rewards(run.period, run.pool_micro, by_account, proved)
