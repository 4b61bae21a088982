"""Decisions about the reserve: what covers what, and who may change it."""

from typing import Final
from uuid import UUID

from libs.four_eyes import is_same_person
from libs.money import BPS, MAX_MICRO
from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from services.distribution.model import OPERATING, PAYOUT_RESERVE
from services.distribution.model.ledger import TransferKind
from services.distribution.model.treasury import (
    Coverage,
    PayoutsSwitch,
    ReserveChange,
    ReserveChangeState,
    ReserveDirection,
)

MAX_PAGE: Final = 200
PAGE: Final = 50
_COVERAGE_MAX: Final = 2**31 - 1


class ReserveDirectionInvalid(InvalidArgument):
    """Reserve money is topped up or withdrawn."""


class ReserveAmountOutOfRange(InvalidArgument):
    """A reserve change is 1 to 10^15 micro-dollars."""


class ReserveChangeIdInvalid(InvalidArgument):
    """A reserve change's id is a UUID."""


class ReserveChangeStateInvalid(InvalidArgument):
    """A reserve change is in a known state."""


class ReserveChangePageInvalid(InvalidArgument):
    """A page has 1 to 200 reserve changes, and its token is one that an answer gave."""


class ReserveChangeUnknown(NotFound):
    """No such reserve change."""


class ReserveChangeDecided(FailedPrecondition):
    """The reserve change was decided before."""


class ReserveChangeNeedsSecond(PermissionDenied):
    """Another operator than the one who asked approves a reserve change."""


class ReserveWouldNotCover(FailedPrecondition):
    """The payout reserve would not cover what creators have earned."""


class ReserveWrong(FailedPrecondition):
    """The payout reserve is wrong: payouts stay paused until it is right."""


def check_direction(number: int) -> ReserveDirection:
    """Return which way reserve money is to move."""
    try:
        return ReserveDirection(number)
    except ValueError:
        raise ReserveDirectionInvalid(field="direction") from None


def check_amount(amount_micro: int) -> int:
    """Return how much reserve money is to move."""
    if not 1 <= amount_micro <= MAX_MICRO:
        raise ReserveAmountOutOfRange(field="amount_micro")
    return amount_micro


def check_id(reserve_change_id: str) -> str:
    """Return a reserve change's id in its one spelling."""
    try:
        return str(UUID(reserve_change_id))
    except ValueError:
        raise ReserveChangeIdInvalid(field="reserve_change_id") from None


def check_state(number: int) -> ReserveChangeState | None:
    """Return the state to list; None for all."""
    try:
        return ReserveChangeState(number) if number else None
    except ValueError:
        raise ReserveChangeStateInvalid(field="state") from None


def check_page(size: int, token: str) -> tuple[int, str | None]:
    """Return the size of a page of reserve changes, and the one that it goes on after."""
    if not 0 <= size <= MAX_PAGE:
        raise ReserveChangePageInvalid(field="page_size", limit=MAX_PAGE)
    try:
        return size or PAGE, str(UUID(token)) if token else None
    except ValueError:
        raise ReserveChangePageInvalid(field="page_token") from None


def check_undecided(change: ReserveChange) -> None:
    """Raise ReserveChangeDecided."""
    if change.state is not ReserveChangeState.REQUESTED:
        raise ReserveChangeDecided(state=change.state.name)


def check_second(change: ReserveChange, operator_id: str) -> None:
    """Raise ReserveChangeNeedsSecond."""
    if is_same_person(operator_id, change.requested_by):
        raise ReserveChangeNeedsSecond


def check_withdrawal(coverage: Coverage, amount_micro: int) -> None:
    """Raise ReserveWouldNotCover: what is pending stays backed too, it will be settled."""
    spare_micro = max(coverage.reserve_micro - coverage.owed_micro - coverage.pending_micro, 0)
    if amount_micro > spare_micro:
        raise ReserveWouldNotCover(spare_micro=spare_micro)


def check_covered(reserve_micro: int, owed_micro: int) -> None:
    """Raise ReserveWouldNotCover where settled and held are more than the reserve."""
    if owed_micro > reserve_micro:
        raise ReserveWouldNotCover


def check_resumable(switch: PayoutsSwitch, coverage: Coverage) -> None:
    """Raise ReserveWrong where the last audit or the balances as they stand say so."""
    if switch.reserve_wrong or coverage.owed_micro > coverage.reserve_micro:
        raise ReserveWrong


def coverage_bps(coverage: Coverage) -> int:
    """Reserve by what must be covered, rounded down; 0 when there is nothing to cover."""
    if not coverage.owed_micro:
        return 0
    return min(coverage.reserve_micro * BPS // coverage.owed_micro, _COVERAGE_MAX)


def transfer(change: ReserveChange) -> tuple[TransferKind, dict[str, int]]:
    """Return what an approved change moves."""
    if change.direction is ReserveDirection.TOP_UP:
        return TransferKind.RESERVE_TOP_UP, {OPERATING: -change.amount_micro, PAYOUT_RESERVE: change.amount_micro}
    return TransferKind.RESERVE_WITHDRAWAL, {PAYOUT_RESERVE: -change.amount_micro, OPERATING: change.amount_micro}
