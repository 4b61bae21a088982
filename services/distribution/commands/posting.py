"""How every command but Finalize moves money: one transfer, its legs, its balances, in the transaction under way."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from libs.ids import new_id
from libs.postgres import Connection
from services.distribution.model import AccountKind
from services.distribution.model.ledger import TransferKind, kind_of
from services.distribution.store import transfers

_OWED: Final = frozenset({AccountKind.CREATOR_SETTLED, AccountKind.CREATOR_HELD})


class Posting(NamedTuple):
    """One transfer as a command wants it: micro-USD by account name, summing to zero. Legs of nothing are left out."""

    kind: TransferKind
    cause_id: str
    legs: Mapping[str, int]
    transfer_id: UUID | None = None


async def post(
    connection: Connection, kind: TransferKind, cause_id: str, legs: Mapping[str, int], *, now: datetime
) -> UUID:
    """Posts one transfer and returns its id. Raises InsufficientBalance, and ValueError for legs out of balance."""
    return (await post_many(connection, [Posting(kind, cause_id, legs)], now=now))[0]


async def post_many(connection: Connection, postings: Iterable[Posting], *, now: datetime) -> list[UUID]:
    """Posts several transfers; what they move together is checked and applied at once, in account-id order."""
    prepared = prepare(postings, now=now)
    if prepared.transfer_ids:
        await transfers.post(connection, prepared)
    return prepared.transfer_ids


def prepare(postings: Iterable[Posting], *, now: datetime) -> transfers.Prepared:
    """Make what a statement posts of several transfers. Raises ValueError for legs out of balance."""
    made = [
        transfers.Transfer(
            each.transfer_id or new_id(),
            each.kind,
            each.cause_id,
            {name: amount_micro for name, amount_micro in each.legs.items() if amount_micro},
        )
        for each in postings
    ]
    kinds: dict[str, AccountKind] = {}
    more_owed_micro = 0
    for transfer in made:
        if not transfer.legs or sum(transfer.legs.values()) != 0:
            raise ValueError(f"legs of {transfer.kind.name} do not balance")
        for name, amount_micro in transfer.legs.items():
            kind = kinds[name] = kind_of(name)
            more_owed_micro += amount_micro if kind in _OWED else 0
    return transfers.prepare(kinds, made, more_owed_micro=more_owed_micro, recorded_at=now)


async def lock(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Locks accounts, in id order, before a decision that rests on their balances; balances by name."""
    if balances := await transfers.lock(connection, names):
        return balances
    await transfers.account_ids(connection, {name: kind_of(name) for name in names})
    return await transfers.lock(connection, names)
