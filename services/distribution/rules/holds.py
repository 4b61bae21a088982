"""Decisions about the money side of payouts."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from uuid import UUID

from libs.money import MAX_MICRO
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.distribution.model import PAYOUT_RESERVE, creator_account
from services.distribution.model.earnings import CreatorState, EarningsChange
from services.distribution.model.holds import Hold, HoldState, Move, Wanted
from services.distribution.model.ledger import IN_FLIGHT, PAID_OUT, PROVIDER_FEES, SENT, TransferKind
from services.distribution.model.statements import Cursor
from services.distribution.rules import statements
from services.distribution.rules.texts import is_coded

MAX_ROUND: Final = 2**31 - 1
MAX_PAGE: Final = 1000
PAGE: Final = 200


class PayoutIdInvalid(InvalidArgument):
    """A payout's id is a UUID."""


class RoundInvalid(InvalidArgument):
    """The rounds of a payout count from 1."""


class HoldAmountOutOfRange(InvalidArgument):
    """A payout is 1 to 10^15 micro-dollars."""


class CodedReasonInvalid(InvalidArgument):
    """A coded reason is 1 to 64 capitals, digits and underscores, a capital first."""


class SentUnbalanced(InvalidArgument):
    """What was sent, at least 1, and the fee, at least 0, are together what was burned."""


class HoldStateInvalid(InvalidArgument):
    """A hold is in a known state."""


class HoldPageInvalid(InvalidArgument):
    """A page has 1 to 1000 holds, and its token is one that an answer gave."""


class HoldUnknown(NotFound):
    """Nothing was ever held for this round of the payout."""


class HoldMismatch(AlreadyExists):
    """The same was done before, with another creator or amount."""


class RoundOutOfOrder(FailedPrecondition):
    """A round begins when the one before it was returned or has failed."""


class HoldNotHeld(FailedPrecondition):
    """The money of this payout is not held any more."""


class HoldNotBurned(FailedPrecondition):
    """The money of this payout is not in flight."""


class InsufficientWithdrawable(FailedPrecondition):
    """The creator cannot withdraw that much now."""


class EarningsFrozen(FailedPrecondition):
    """The creator's earnings are frozen."""


class PayoutsPaused(FailedPrecondition):
    """Payouts are paused."""


class PayoutsDisabled(FailedPrecondition):
    """Payouts are switched off."""


_FROM: Final[Mapping[HoldState, HoldState]] = MappingProxyType(
    {
        HoldState.RETURNED: HoldState.HELD,
        HoldState.BURNED: HoldState.HELD,
        HoldState.COMPLETED: HoldState.BURNED,
        HoldState.FAILED: HoldState.BURNED,
    }
)
_KINDS: Final[Mapping[HoldState, TransferKind]] = MappingProxyType(
    {
        HoldState.HELD: TransferKind.HOLD,
        HoldState.RETURNED: TransferKind.RETURN,
        HoldState.BURNED: TransferKind.BURN,
        HoldState.COMPLETED: TransferKind.PAYOUT_COMPLETED,
        HoldState.FAILED: TransferKind.PAYOUT_FAILED,
    }
)
CHANGES: Final[Mapping[HoldState, EarningsChange]] = MappingProxyType(
    {
        HoldState.HELD: EarningsChange.HELD,
        HoldState.RETURNED: EarningsChange.RETURNED,
        HoldState.BURNED: EarningsChange.PAID_OUT,
        HoldState.FAILED: EarningsChange.PAYOUT_FAILED,
    }
)
"""What the creator's earnings go through; that the provider has sent it changes them no more."""


def check_payout_id(payout_id: str) -> str:
    """Return a payout's id in its one spelling."""
    try:
        return str(UUID(payout_id))
    except ValueError:
        raise PayoutIdInvalid(field="payout_id") from None


def check_round(number: int) -> int:
    """Return the round of a payout."""
    if not 1 <= number <= MAX_ROUND:
        raise RoundInvalid(field="round")
    return number


def check_amount(amount_micro: int) -> int:
    """Return what may be held."""
    if not 1 <= amount_micro <= MAX_MICRO:
        raise HoldAmountOutOfRange(field="amount_micro")
    return amount_micro


def check_coded_reason(reason: str) -> str:
    """Return why a payout's money comes back."""
    if not is_coded(reason):
        raise CodedReasonInvalid(field="reason")
    return reason


def check_sent(sent_micro: int, fee_micro: int) -> None:
    """Raise SentUnbalanced for amounts that no payout can have."""
    if not (1 <= sent_micro <= MAX_MICRO and 0 <= fee_micro <= MAX_MICRO):
        raise SentUnbalanced(field="sent_micro")


def check_states(numbers: Iterable[int]) -> list[HoldState]:
    """Return the states to list; none for all."""
    try:
        return sorted({HoldState(number) for number in numbers})
    except ValueError:
        raise HoldStateInvalid(field="states") from None


def check_page(size: int) -> int:
    """Return the size of a page of holds."""
    if not 0 <= size <= MAX_PAGE:
        raise HoldPageInvalid(field="page_size", limit=MAX_PAGE)
    return size or PAGE


def token_of(hold: Hold) -> str:
    """Spell a hold's place in the order of changes."""
    return f"{statements.token_of(Cursor(hold.changed_at, hold.payout_id))}.{hold.round}"


def read_token(token: str) -> tuple[Cursor, int]:
    """Read a place in the order of changes: when, whose, and the round."""
    place, _, number = token.rpartition(".")
    if not (number.isdecimal() and number.isascii() and int(number) <= MAX_ROUND):
        raise HoldPageInvalid(field="page_token")
    return statements.read_token(place, HoldPageInvalid), int(number)


def earlier(rounds: Sequence[Hold], wanted: Wanted) -> Hold | None:
    """Return the hold that an earlier call made; raises HoldMismatch where it is another one."""
    same_round = next((hold for hold in rounds if hold.round == wanted.round), None)
    if same_round and (same_round.creator_ref, same_round.amount_micro) != (wanted.creator_ref, wanted.amount_micro):
        raise HoldMismatch(state=same_round.state.name)
    return same_round


def check_next_round(rounds: Sequence[Hold], wanted: Wanted) -> None:
    """Raise what keeps a new round from beginning."""
    if wanted.round != len(rounds) + 1:
        raise RoundOutOfOrder(rounds=len(rounds))
    if not rounds:
        return
    if rounds[-1].state not in {HoldState.RETURNED, HoldState.FAILED}:
        raise RoundOutOfOrder(rounds=len(rounds), state=rounds[-1].state.name)
    if rounds[-1].creator_ref != wanted.creator_ref:
        raise HoldMismatch(state=rounds[-1].state.name)


def check_open(*, enabled: bool, paused: bool) -> None:
    """Raise PayoutsDisabled or PayoutsPaused."""
    if not enabled:
        raise PayoutsDisabled
    if paused:
        raise PayoutsPaused


def check_not_frozen(*, frozen: bool) -> None:
    """Raise EarningsFrozen."""
    if frozen:
        raise EarningsFrozen


def check_withdrawable(amount_micro: int, *, settled_micro: int, maturing_micro: int) -> None:
    """Raise InsufficientWithdrawable; what is held for other payouts is not in settled any more."""
    withdrawable_micro = max(settled_micro - maturing_micro, 0)
    if amount_micro > withdrawable_micro:
        raise InsufficientWithdrawable(withdrawable_micro=withdrawable_micro)


def find(rounds: Sequence[Hold], number: int) -> Hold:
    """Return one round of a payout; raises HoldUnknown."""
    for hold in rounds:
        if hold.round == number:
            return hold
    raise HoldUnknown


def is_done(hold: Hold, move: Move) -> bool:
    """Whether the hold is where it is to go; raises HoldMismatch, HoldNotHeld or HoldNotBurned.

    A hold that went further answers no repeat: who burns again what has failed must not send it.
    """
    if hold.state is move.to:
        if (hold.sent_micro, hold.fee_micro) != (move.sent_micro, move.fee_micro):
            raise HoldMismatch(state=hold.state.name)
        return True
    if hold.state is not _FROM[move.to]:
        refusal = HoldNotHeld if _FROM[move.to] is HoldState.HELD else HoldNotBurned
        raise refusal(state=hold.state.name)
    if move.to is HoldState.COMPLETED and move.sent_micro + move.fee_micro != hold.amount_micro:
        raise SentUnbalanced(field="sent_micro", amount_micro=hold.amount_micro)
    return False


def kind(to: HoldState) -> TransferKind:
    """Return what the transfer into a state is about."""
    return _KINDS[to]


def legs(creator_ref: str, amount_micro: int, move: Move) -> dict[str, int]:
    """Return what the way into a state moves (money rule 8)."""
    settled, held = creator_account(creator_ref, "settled"), creator_account(creator_ref, "held")
    match move.to:
        case HoldState.HELD:
            return {settled: -amount_micro, held: amount_micro}
        case HoldState.RETURNED:
            return {held: -amount_micro, settled: amount_micro}
        case HoldState.BURNED:
            return {
                held: -amount_micro, PAID_OUT: amount_micro, PAYOUT_RESERVE: -amount_micro, IN_FLIGHT: amount_micro
            }  # fmt: skip
        case HoldState.COMPLETED:
            return {IN_FLIGHT: -amount_micro, SENT: move.sent_micro, PROVIDER_FEES: move.fee_micro}
        case HoldState.FAILED:
            return {
                PAID_OUT: -amount_micro, settled: amount_micro, IN_FLIGHT: -amount_micro, PAYOUT_RESERVE: amount_micro
            }  # fmt: skip


def is_forfeited(hold: Hold, creator: CreatorState, to: HoldState) -> bool:
    """Whether what comes back goes on: its creator has forfeited since it was held."""
    return to in {HoldState.RETURNED, HoldState.FAILED} and creator.forfeitures > hold.forfeitures


def paid_out_micro(amount_micro: int, to: HoldState) -> int:
    """Return by how much the way into a state changes what was ever paid out to the creator."""
    return {HoldState.BURNED: amount_micro, HoldState.FAILED: -amount_micro}.get(to, 0)
