"""Wallets: challenged, linked, unlinked."""

import asyncio
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from libs.clock import Clock
from libs.ethereum import is_raw_signature, text_hash
from libs.ids import new_id
from libs.outbox import append
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.score.v1 import events_pb2
from services.score.contracts import Contracts
from services.score.model import Challenge, Wallet, WalletLimits, WalletState
from services.score.rules import wallets as rules
from services.score.store import accounts, challenges, wallets

_HOUR = timedelta(hours=1)
_KEEP_EXPIRED = timedelta(days=1)
_DROP_BATCH = 1000


class Asked(NamedTuple):
    """Who wants to link which wallet by which signature."""

    account_id: str
    account_ref: UUID
    address: str
    chain_id: int
    nonce: bytes
    signature: str


class Linked(NamedTuple):
    """The wallet, and whether it was this account's before."""

    wallet: Wallet
    already: bool


class Unlinked(NamedTuple):
    """Whether it was linked until now, and from when another account may link it; None where that is not this one's."""

    changed: bool
    free_from: datetime | None


@retried
async def create_challenge(
    postgres: Postgres, clock: Clock, limits: WalletLimits, account_ref: UUID, address: str, chain_id: int
) -> Challenge:
    """A text to sign. Raises TooManyChallenges."""
    async with postgres.transaction() as connection:
        await accounts.lock(connection, account_ref)
        now = clock.now()
        rules.check_issuing(await challenges.count_since(connection, account_ref, now - _HOUR), limits)
        nonce = secrets.token_bytes(rules.NONCE_BYTES)
        challenge = rules.challenge(nonce, account_ref, address, chain_id, now, limits)
        await challenges.insert(connection, challenge)
        return challenge


async def link_wallet(
    postgres: Postgres, clock: Clock, limits: WalletLimits, contracts: Contracts, asked: Asked
) -> Linked:
    """Link the wallet that signed a challenge, which is used up whatever comes of it.

    The signature is looked at before the transaction, because a contract's is asked for on its chain; the challenge
    is taken in it, so that of several tries only the first counts. Raises the refusals of `rules.wallets`, and
    ChainUnreachable, which uses nothing up.
    """
    async with postgres.connection() as connection:
        challenge = await challenges.find(connection, asked.nonce)
    challenge = rules.check_challenge(challenge, asked.account_ref, asked.address, asked.chain_id)
    refusal = await _judge(contracts, challenge, asked)
    answer = await _settle(postgres, clock, limits, asked, refusal)
    if isinstance(answer, Refusal):
        raise answer
    return answer


async def _judge(contracts: Contracts, challenge: Challenge, asked: Asked) -> Refusal | None:
    """What is wrong with a signature."""
    text = rules.text_of(challenge, asked.account_id)
    try:
        # Recovering a key takes milliseconds of Python: not on the loop.
        if await asyncio.to_thread(rules.is_signed_by_key, text, asked.address, asked.signature):
            return None
        if await contracts.accept(asked.chain_id, asked.address, text_hash(text), asked.signature):
            return None
    except rules.ContractWalletsUnsupported as unsupported:
        return rules.WalletSignatureMismatch() if is_raw_signature(asked.signature) else unsupported
    except (rules.WalletSignatureInvalid, rules.WalletSignatureMalleable) as refusal:
        return refusal
    return rules.ContractSignatureRefused()


@retried
async def _settle(
    postgres: Postgres, clock: Clock, limits: WalletLimits, asked: Asked, refusal: Refusal | None
) -> Linked | Refusal:
    """Takes the challenge and links; a refusal is told after the commit, because it uses the challenge up."""
    async with postgres.transaction() as connection:
        await accounts.lock(connection, asked.account_ref)
        challenge = await challenges.lock(connection, asked.nonce)
        challenge = rules.check_challenge(challenge, asked.account_ref, asked.address, asked.chain_id)
        now = clock.now()
        wallet = await wallets.lock(connection, asked.address)
        if challenge.used_at is not None and wallet is not None and _is_repeat(wallet, asked):
            return Linked(wallet, already=True)
        rules.check_fresh(challenge, now)
        if refusal is not None:
            await challenges.use(connection, asked.nonce, accepted=False, now=now)
            return refusal
        try:
            linked = await wallets.count(connection, asked.account_ref)
            already = rules.check_linking(wallet, asked.account_ref, linked, now=now, limits=limits)
        except Refusal as refused:
            await challenges.use(connection, asked.nonce, accepted=False, now=now)
            return refused
        await challenges.use(connection, asked.nonce, accepted=True, now=now)
        if already and wallet is not None:
            return Linked(wallet, already=True)
        return Linked(await _link(connection, wallet, asked, now), already=False)


def _is_repeat(wallet: Wallet, asked: Asked) -> bool:
    linked_by_it = wallet.state is WalletState.LINKED and wallet.nonce == asked.nonce
    return linked_by_it and wallet.account_ref == asked.account_ref


async def _link(connection: Connection, before: Wallet | None, asked: Asked, now: datetime) -> Wallet:
    wallet = Wallet(
        wallet_ref=before.wallet_ref if before else new_id(),
        address=asked.address,
        account_ref=asked.account_ref,
        chain_id=asked.chain_id,
        state=WalletState.LINKED,
        nonce=asked.nonce,
        linked_at=now,
        unlinked_at=None,
        revision=before.revision + 1 if before else 1,
    )
    if before:
        await wallets.save(connection, wallet)
    elif not await wallets.insert(connection, wallet):
        raise asyncpg.SerializationError("linked by another account meanwhile")
    await _announce(connection, wallet, now)
    return wallet


@retried
async def unlink_wallet(
    postgres: Postgres, clock: Clock, limits: WalletLimits, account_ref: UUID, address: str
) -> Unlinked:
    """Let a wallet count for nobody. What it earned stays."""
    async with postgres.transaction() as connection:
        await accounts.lock(connection, account_ref)
        wallet = await wallets.lock(connection, address)
        if wallet is None or wallet.account_ref != account_ref:
            return Unlinked(changed=False, free_from=None)
        if wallet.state is WalletState.UNLINKED:
            return Unlinked(changed=False, free_from=rules.free_from(wallet, limits))
        now = clock.now()
        wallet = wallet._replace(state=WalletState.UNLINKED, unlinked_at=now, revision=wallet.revision + 1)
        await wallets.save(connection, wallet)
        await _announce(connection, wallet, now)
        return Unlinked(changed=True, free_from=rules.free_from(wallet, limits))


async def drop_challenges(postgres: Postgres, now: datetime) -> int:
    """Drops those that expired a day ago, and returns how many."""
    dropped = 0
    while True:
        async with postgres.transaction() as connection:
            batch = await challenges.drop_before(connection, now - _KEEP_EXPIRED, _DROP_BATCH)
        dropped += batch
        if batch < _DROP_BATCH:
            return dropped


async def _announce(connection: Connection, wallet: Wallet, now: datetime) -> None:
    event = events_pb2.WalletChanged(
        account_ref=str(wallet.account_ref),
        wallet_ref=str(wallet.wallet_ref),
        state=events_pb2.WalletState.ValueType(wallet.state),
        chain_id=wallet.chain_id,
        revision=wallet.revision,
        changed_at=to_timestamp(now),
    )
    await append(connection, event, key=str(wallet.account_ref), occurred_at=now)
