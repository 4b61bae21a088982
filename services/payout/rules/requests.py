"""What may be asked, and how answers are paged."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.money import MAX_MICRO
from libs.refusals import InvalidArgument, NotFound
from services.payout.model import Order, Stage, State

_PRINTABLE: Final = re.compile(r"[ -~]{1,128}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_REASON: Final = 1000
_MAX_PROOF: Final = 500


class PayoutAccountInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters, a surrogate is a UUID."""


class PayoutNameInvalid(InvalidArgument):
    """The id is no UUID."""


class PayoutOrderInvalid(InvalidArgument):
    """An operator is named by 1 to 128 printable ASCII characters and gives a reason of 1 to 1000 characters."""


class ProofInvalid(InvalidArgument):
    """A proof is 1 to 500 printable characters."""


class PayoutAmountInvalid(InvalidArgument):
    """An amount is 1 to 10^15 micro-dollars."""


class PayoutFilterInvalid(InvalidArgument):
    """That is no state or stage of a payout."""


class PayoutPageInvalid(InvalidArgument):
    """The page is too large, or its token is not one that an answer gave."""


class PayoutUnknown(NotFound):
    """No such payout."""


class DestinationUnknown(NotFound):
    """No such destination."""


class ProposalUnknown(NotFound):
    """No such proposal."""


def check_account_id(account_id: str) -> str:
    """Return an account id as it is; raises PayoutAccountInvalid."""
    if not _PRINTABLE.fullmatch(account_id):
        raise PayoutAccountInvalid(field="account_id")
    return account_id


def check_account_ref(account_ref: str) -> UUID:
    """Return a surrogate; raises PayoutAccountInvalid."""
    try:
        return UUID(account_ref)
    except ValueError:
        raise PayoutAccountInvalid(field="account_ref") from None


def check_id(identifier: str, field: str) -> UUID:
    """Return a UUID; raises PayoutNameInvalid naming the field."""
    try:
        return UUID(identifier)
    except ValueError:
        raise PayoutNameInvalid(field=field) from None


def check_order(operator_id: str, reason: str) -> Order:
    """Return who asks and why; raises PayoutOrderInvalid."""
    if not _PRINTABLE.fullmatch(operator_id) or operator_id.startswith("job:"):
        raise PayoutOrderInvalid(field="operator_id")
    if not _is_text(reason, _MAX_REASON):
        raise PayoutOrderInvalid(field="reason")
    return Order(operator_id, reason.strip())


def check_proof(proof: str) -> str:
    """Return where the proof of a payment is; raises ProofInvalid."""
    if not _is_text(proof, _MAX_PROOF) or not proof.isprintable():
        raise ProofInvalid(field="proof")
    return proof.strip()


def check_amount(amount_micro: int, field: str = "amount_micro") -> int:
    """Return an amount; raises PayoutAmountInvalid."""
    if not 1 <= amount_micro <= MAX_MICRO:
        raise PayoutAmountInvalid(field=field)
    return amount_micro


def check_state(number: int) -> State | None:
    """Return the public state to list; None for all."""
    try:
        return State(number) if number else None
    except ValueError:
        raise PayoutFilterInvalid(field="state") from None


def check_stages(numbers: list[int]) -> list[Stage]:
    """Return the stages to list; none for all."""
    try:
        return sorted({Stage(number) for number in numbers})
    except ValueError:
        raise PayoutFilterInvalid(field="stages") from None


def check_size(size: int, *, most: int, usual: int = 50) -> int:
    """Return the size of a page; raises PayoutPageInvalid."""
    if not 0 <= size <= most:
        raise PayoutPageInvalid(field="page_size", limit=most)
    return size or usual


def read_id_token(token: str) -> UUID | None:
    """Return the id that a page goes on after; None for the beginning."""
    if not token:
        return None
    try:
        return UUID(hex=token)
    except ValueError:
        raise PayoutPageInvalid(field="page_token") from None


def token_of_change(changed_at: datetime, payout_id: UUID) -> str:
    """Spell a payout's place in the order of changes."""
    return f"{(changed_at - _EPOCH) // timedelta(microseconds=1)}.{payout_id.hex}"


def read_change_token(token: str) -> tuple[datetime, UUID]:
    """Return the place in the order of changes that a page goes on after."""
    if not token:
        return _EPOCH, UUID(int=0)
    instant, _, identifier = token.partition(".")
    if not (instant.isascii() and instant.isdecimal() and len(instant) <= 17):  # noqa: PLR2004 - before the year 5000
        raise PayoutPageInvalid(field="page_token")
    return _EPOCH + timedelta(microseconds=int(instant)), read_id_token(identifier or "x") or UUID(int=0)


def _is_text(text: str, longest: int) -> bool:
    printable = all(letter.isprintable() or letter in "\n\t" for letter in text)
    return 0 < len(text) <= longest and bool(text.strip()) and printable
