"""What score speaks of: wallets and challenges, scores and imports, runs and rewards."""

from datetime import datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class WalletState(IntEnum):
    """linked → unlinked → linked. Numbers of creator.score.v1.WalletState."""

    LINKED = 1
    UNLINKED = 2


class Challenge(NamedTuple):
    """A text to sign, for one account, wallet and chain; good for one try."""

    nonce: bytes
    account_ref: UUID
    address: str
    chain_id: int
    issued_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class Wallet(NamedTuple):
    """An address and whose it is, or was last; `nonce` is of the challenge that linked it."""

    wallet_ref: UUID
    address: str
    account_ref: UUID
    chain_id: int
    state: WalletState
    nonce: bytes
    linked_at: datetime
    unlinked_at: datetime | None
    revision: int


class ScoredWallet(NamedTuple):
    """A wallet with its score in the newest snapshot."""

    wallet: Wallet
    score: int


class WalletLimits(NamedTuple):
    """What bounds linking."""

    chain_ids: frozenset[int]
    wallets_per_account: int
    challenge_seconds: int
    challenges_per_hour: int
    cooldown_days: int


class Order(NamedTuple):
    """Which operator asks, and why."""

    operator_id: str
    reason: str
