# ruff: noqa: INP001, T201 - a program to read and to run, not a module
"""Promotional credits and signup bonuses: `python credits.py DISTRIBUTION REFERRAL`, each as host:port."""

import asyncio
import sys
import uuid

from creator_economy import Platform, Refused
from creator_economy.protos.distribution.v1.campaigns_pb2 import (
    GetCreditsRequest,
    ReturnCreditsRequest,
    SpendCreditsRequest,
)
from creator_economy.protos.distribution.v1.distribution_pb2 import FinalizeRequest
from creator_economy.protos.referral.v1.events_pb2 import QUALIFYING_ACTION_KIND_DNFT_MINT
from creator_economy.protos.referral.v1.referral_pb2 import QualifyingActionOutcome, RecordQualifyingActionRequest

PAYER = "example-minter"
RUN = uuid.uuid4().hex[:12]


async def main(distribution: str, referral: str) -> None:
    """Report a mint, then charge an account that may have credits."""
    async with Platform(distribution=distribution, referral=referral) as platform:
        mint = RecordQualifyingActionRequest(
            account_id=PAYER, kind=QUALIFYING_ACTION_KIND_DNFT_MINT, action_id=f"mint-{RUN}", paid_micro=2_000_000
        )
        mint.occurred_at.GetCurrentTime()
        outcome = (await platform.record_qualifying_action(mint)).outcome
        print("mint", QualifyingActionOutcome.Name(outcome))

        print("credits", (await platform.get_credits(GetCreditsRequest(account_id=PAYER))).available_micro)
        spend = SpendCreditsRequest(inference_charge_id=RUN, account_id=PAYER, up_to_micro=80_000)
        spent = await platform.spend_credits(spend)

        charge = FinalizeRequest(
            inference_charge_id=RUN,
            payer_account_id=PAYER,
            community_id="example-community",
            revenue_micro=80_000,
            promotional_micro=spent.spent_micro,
            model="example-model",
        )
        charge.finalized_at.GetCurrentTime()
        answer = await platform.finalize(charge)
        print("paid part", answer.commons_micro + answer.community_micro + answer.foundation_micro)

        try:
            await platform.return_credits(ReturnCreditsRequest(inference_charge_id=RUN))
        except Refused as refused:
            print("returned", refused.reason)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
