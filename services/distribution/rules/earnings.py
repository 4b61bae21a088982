"""Decisions about earnings: when a share settles, when it may be paid out, and how the buckets partition all of it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from libs.refusals import InvalidArgument
from services.distribution.model import OPERATING, PAYOUT_RESERVE, creator_account
from services.distribution.model.campaigns import Order
from services.distribution.model.earnings import Bucket, CreatorState, Earnings, EarningsPart, LockReason
from services.distribution.model.ledger import FORFEITED
from services.distribution.rules.texts import is_coded, is_id

PARTS_MAX: Final = 400


class ForfeitureOrderInvalid(InvalidArgument):
    """A forfeiture says who decided it, and why in 1 to 64 capitals, digits and underscores, a capital first."""


def check_forfeiture(operator_id: str, reason: str) -> Order:
    """Return who decided a forfeiture and why; raises ForfeitureOrderInvalid naming the field."""
    if not is_id(operator_id):
        raise ForfeitureOrderInvalid(field="operator_id")
    if not is_coded(reason):
        raise ForfeitureOrderInvalid(field="reason")
    return Order(operator_id, reason)


def due_before(now: datetime, settlement_delay: timedelta) -> datetime:
    """Shares cleared at or before this instant are settled at `now`."""
    return now - settlement_delay


def groups(due: Sequence[tuple[str, int]], shares_max: int) -> Iterator[list[str]]:
    """Creators in groups that have at most so many shares together, or of one creator that has more."""
    group: list[str] = []
    shares = 0
    for creator_ref, count in due:
        if group and shares + count > shares_max:
            yield group
            group, shares = [], 0
        group.append(creator_ref)
        shares += count
    if group:
        yield group


def matures_at(settled_at: datetime, accrued_at: datetime, hold: timedelta) -> datetime:
    """When a settled share may be paid out (money rule 9)."""
    return max(settled_at, accrued_at + hold)


def unlocks_at(cleared_at: datetime, accrued_at: datetime, *, settlement_delay: timedelta, hold: timedelta) -> datetime:
    """When a pending share will be withdrawable, if nothing is refunded."""
    return max(cleared_at + settlement_delay, accrued_at + hold)


def forfeit_legs(creator_ref: str, *, pending_micro: int, settled_micro: int) -> dict[str, int]:
    """Return what a forfeiture moves: a creator's money, and its backing back to operating cash."""
    total_micro = pending_micro + settled_micro
    return {
        creator_account(creator_ref, "pending"): -pending_micro,
        creator_account(creator_ref, "settled"): -settled_micro,
        FORFEITED: total_micro,
        PAYOUT_RESERVE: -total_micro,
        OPERATING: total_micro,
    }


def buckets(
    state: CreatorState,
    *,
    pending_micro: int,
    settled_micro: int,
    held_micro: int,
    maturing_micro: int,
    parts: Iterable[EarningsPart],
    as_of: datetime,
) -> Earnings:
    """The seven buckets: settled is maturing, and the rest of it withdrawable, or frozen while the creator is."""
    free_micro = settled_micro - maturing_micro
    shown = [part for part in parts if part.amount_micro]
    if state.frozen and free_micro:
        shown.append(EarningsPart(Bucket.FROZEN, free_micro, reason=LockReason.FROZEN))
    return Earnings(
        pending_micro=pending_micro,
        maturing_micro=maturing_micro,
        withdrawable_micro=0 if state.frozen else free_micro,
        frozen_micro=free_micro if state.frozen else 0,
        held_micro=held_micro,
        paid_out_micro=state.paid_out_micro,
        reversed_micro=state.reversed_micro,
        frozen=state.frozen,
        parts=_bounded(shown),
        as_of=as_of,
    )


def _bounded(parts: list[EarningsPart]) -> tuple[EarningsPart, ...]:
    """Dated ones first, soonest first; what goes beyond the limit joins the last one of its bucket."""
    dated = sorted((part for part in parts if part.unlocks_at), key=lambda part: (part.unlocks_at, part.bucket))
    undated = [part for part in parts if not part.unlocks_at]
    room = PARTS_MAX - len(undated) - len(Bucket)
    kept, rest = dated[:room], dated[room:]
    for bucket in Bucket:
        late = [part for part in rest if part.bucket is bucket]
        if late:
            kept.append(EarningsPart(bucket, sum(part.amount_micro for part in late), late[-1].unlocks_at))
    return (*kept, *undated)
