"""Reward runs."""

from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class RunState(IntEnum):
    """frozen → allocating → staged → committed; aborted from any of the first three."""

    FROZEN = 1
    ALLOCATING = 2
    STAGED = 3
    COMMITTED = 4
    ABORTED = 5


class Inclusion(IntEnum):
    """Whether a wallet or an account counts. Numbers of creator.score.v1.InclusionOutcome."""

    INCLUDED = 1
    WALLET_BELOW_MINIMUM = 2
    ACCOUNT_BELOW_MINIMUM = 3
    NO_SCORE = 4
    LINKED_TOO_LATE = 5
    NO_WALLET = 6


class Terms(NamedTuple):
    """What a run divides at most, in micro-USD, and the least scores that count."""

    configured_micro: int
    wallet_minimum: int
    account_minimum: int


class Run(NamedTuple):
    """One period's division of the pool."""

    run_id: UUID
    period: str
    state: RunState
    terms: Terms
    snapshot_id: UUID
    accounts: int
    total_score: int
    started: bool
    opening: bool
    pool_micro: int
    staged: int
    root_hash: bytes | None
    transfer_id: str | None
    reason: str
    operator_id: str
    frozen_at: datetime
    ended_at: datetime | None


class Participant(NamedTuple):
    """An account that counts."""

    account_ref: UUID
    score: int


class Reward(NamedTuple):
    """What an account gets, and its leaf in the run's tree."""

    account_ref: UUID
    score: int
    reward_micro: int
    salt: bytes
    leaf: int


class Standing(NamedTuple):
    """How an account stands in a run: its score, and whether it counts."""

    score: int
    outcome: Inclusion


class WalletPart(NamedTuple):
    """A wallet's part in a run; `address` is None once it was erased, and shortened once it was unlinked."""

    address: str | None
    linked: bool
    score: int
    outcome: Inclusion


class Trial(NamedTuple):
    """What a run would be with the wallets and scores of now."""

    participants: list[Participant]
    excluded: dict[Inclusion, int]
