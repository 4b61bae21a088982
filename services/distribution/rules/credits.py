"""Which credits are burned for a charge, and what is refused."""

from collections.abc import Sequence
from uuid import UUID

from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.distribution.model.campaigns import POOLS, Burn, Lot, Slice

MAX_PAGE = 200
PAGE = 50


class PoolInvalid(InvalidArgument):
    """No such pool of credits."""


class LotPageInvalid(InvalidArgument):
    """A page has 1 to 200 lots, and its token is one that an answer gave."""


class BurnMismatch(AlreadyExists):
    """Credits were burned for this charge before, on other terms."""


class BurnReturned(FailedPrecondition):
    """What was burned for this charge was put back: it was given up. Use a new charge id."""


class BurnUnknown(NotFound):
    """Nothing was burned for this charge."""


class ChargeFinalized(FailedPrecondition):
    """The charge is finalized: its credits can be neither burned nor put back."""


def check_pool(pool: str) -> str | None:
    """Return the pool to list; none for all."""
    if pool and pool not in POOLS:
        raise PoolInvalid(field="pool")
    return pool or None


def check_page(size: int, token: str) -> tuple[int, str | None]:
    """Return the size of a page of lots, and the one that it goes on after."""
    if not 0 <= size <= MAX_PAGE:
        raise LotPageInvalid(field="page_size", limit=MAX_PAGE)
    try:
        return size or PAGE, str(UUID(token)) if token else None
    except ValueError:
        raise LotPageInvalid(field="page_token") from None


def check_same_burn(earlier: Burn, account_ref: str, up_to_micro: int) -> None:
    """Raise what keeps a repeated call from getting the first answer again."""
    if (earlier.account_ref, earlier.up_to_micro) != (account_ref, up_to_micro):
        raise BurnMismatch(field="inference_charge_id")
    if earlier.returned:
        raise BurnReturned


def take(lots: Sequence[Lot], up_to_micro: int) -> list[Slice]:
    """Take from lots in their order, the oldest first, until there is enough or nothing left."""
    slices: list[Slice] = []
    for lot in lots:
        if not up_to_micro:
            break
        taken_micro = min(lot.remaining_micro, up_to_micro)
        slices.append(Slice(lot.lot_id, lot.pool, taken_micro))
        up_to_micro -= taken_micro
    return slices


def by_pool(slices: Sequence[Slice]) -> dict[str, int]:
    """Sum parts of lots by pool, in the order of pools' names."""
    sums: dict[str, int] = {}
    for part in sorted(slices, key=lambda part: part.pool):
        sums[part.pool] = sums.get(part.pool, 0) + part.amount_micro
    return sums
