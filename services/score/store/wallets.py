"""Wallets, one row per address."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Record

from libs.ethereum import checksummed
from libs.postgres import Connection
from services.score.model import ScoredWallet, Wallet, WalletState


async def lock(connection: Connection, address: str) -> Wallet | None:
    """The wallet with this address, locked, whosever it is."""
    row = await connection.fetchrow("SELECT * FROM wallets WHERE address = $1 FOR UPDATE", _raw(address))
    return _wallet(row) if row else None


async def insert(connection: Connection, wallet: Wallet) -> bool:
    """Keeps a wallet that nobody ever linked; False when somebody did so meanwhile."""
    done: bool | None = await connection.fetchval(
        """
        INSERT INTO wallets (wallet_ref, address, account_ref, chain_id, state, nonce, linked_at, unlinked_at, revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (address) DO NOTHING
        RETURNING true
        """,
        *_values(wallet),
    )
    return done is not None


async def save(connection: Connection, wallet: Wallet) -> None:
    """Writes a wallet that this transaction holds locked."""
    await connection.execute(
        """
        UPDATE wallets SET account_ref = $3, chain_id = $4, state = $5, nonce = $6, linked_at = $7, unlinked_at = $8,
            revision = $9
        WHERE wallet_ref = $1 AND address = $2
        """,
        *_values(wallet),
    )


async def count(connection: Connection, account_ref: UUID) -> int:
    """How many wallets an account has."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM wallets WHERE account_ref = $1 AND state = 1", account_ref
    )
    return found


async def list_scored(connection: Connection, account_ref: UUID, snapshot_id: UUID | None) -> list[ScoredWallet]:
    """An account's wallets, oldest link first, with their scores in a snapshot."""
    rows = await connection.fetch(
        """
        SELECT wallets.*, coalesce(score, 0) AS score
        FROM wallets LEFT JOIN snapshot_scores AS scores ON snapshot_id = $2 AND scores.address = wallets.address
        WHERE account_ref = $1 AND state = 1 ORDER BY linked_at, wallet_ref
        """,
        account_ref,
        snapshot_id,
    )
    return [ScoredWallet(_wallet(row), int(row["score"])) for row in rows]


async def owner(connection: Connection, address: str) -> UUID | None:
    """The account that an address is linked to."""
    found: UUID | None = await connection.fetchval(
        "SELECT account_ref FROM wallets WHERE address = $1 AND state = 1", _raw(address)
    )
    return found


async def oldest_addresses(connection: Connection, account_refs: Sequence[UUID]) -> dict[UUID, str]:
    """The address of each account's oldest link."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (account_ref) account_ref, address FROM wallets
        WHERE account_ref = ANY ($1) AND state = 1 ORDER BY account_ref, linked_at, wallet_ref
        """,
        account_refs,
    )
    return {row["account_ref"]: checksummed("0x" + row["address"].hex()) for row in rows}


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[2:])


def _values(wallet: Wallet) -> tuple[object, ...]:
    return (wallet.wallet_ref, _raw(wallet.address), *wallet[2:])


def _wallet(row: Record) -> Wallet:
    return Wallet(
        wallet_ref=row["wallet_ref"],
        address=checksummed("0x" + row["address"].hex()),
        account_ref=row["account_ref"],
        chain_id=row["chain_id"],
        state=WalletState(row["state"]),
        nonce=row["nonce"],
        linked_at=row["linked_at"],
        unlinked_at=row["unlinked_at"],
        revision=row["revision"],
    )
