"""Charges to measure with: of many payers, a quarter of them brought by creators, with ids in order or at random."""

import itertools
import time
import uuid
from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp
from uuid_utils.compat import uuid7

from protos.distribution.v1.distribution_pb2 import FinalizeRequest

PAYERS_MAX = 1_000
CREATORS = 100
COMMUNITIES = 20
REFERRED_EACH = 4
"""Every how many payers one is a creator's referral."""

IDS = {"time-ordered": uuid7, "random": uuid.uuid4}


def payer(number: int) -> str:
    return f"bench-payer-{number}"


def charges(
    order: str, ahead_seconds: float, payers: int = PAYERS_MAX, community: str = "community"
) -> Iterator[FinalizeRequest]:
    """Endless charges of now, by a clock that is `ahead_seconds` ahead of the machine's; `order` is of their ids."""
    new_id = IDS[order]
    finalized_at = Timestamp()
    finalized_at.FromNanoseconds(time.time_ns() + int(ahead_seconds * 1e9))
    for number in itertools.count():
        yield FinalizeRequest(
            inference_charge_id=str(new_id()),
            payer_account_id=payer(number % payers),
            community_id=f"{community}-{number % COMMUNITIES}",
            revenue_micro=100_000 + number % 1_000,
            provider_cost_micro=50_000,
            model="gpt-4o-2024-11-20",
            model_tier="standard",
            finalized_at=finalized_at,
        )
