"""How every command but Finalize moves money: one transfer, its legs, its balances, in the transaction under way."""

from collections import Counter
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
    wanted = [each._replace(legs={name: micro for name, micro in each.legs.items() if micro}) for each in postings]
    for posting in wanted:
        if not posting.legs or sum(posting.legs.values()) != 0:
            raise ValueError(f"legs of {posting.kind.name} do not balance")
    names = {name for posting in wanted for name in posting.legs}
    ids = await transfers.account_ids(connection, {name: kind_of(name) for name in names})
    made = [
        transfers.Transfer(
            each.transfer_id or new_id(),
            each.kind,
            each.cause_id,
            {ids[name]: amount_micro for name, amount_micro in each.legs.items()},
        )
        for each in wanted
    ]
    moved: Counter[int] = Counter()
    for transfer in made:
        moved.update(transfer.legs)
    await transfers.insert(connection, made, recorded_at=now)
    await transfers.move(connection, moved)
    owed_micro = sum(moved[ids[name]] for name in names if kind_of(name) in _OWED)
    if owed_micro:
        await transfers.add_owed(connection, owed_micro)
    return [transfer.transfer_id for transfer in made]


async def lock(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Locks accounts, in id order, before a decision that rests on their balances; balances by name."""
    if balances := await transfers.lock(connection, names):
        return balances
    await transfers.account_ids(connection, {name: kind_of(name) for name in names})
    return await transfers.lock(connection, names)
