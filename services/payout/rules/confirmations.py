"""How an owner confirms where a payout goes."""

from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple

from libs import ethereum
from libs.refusals import FailedPrecondition, InvalidArgument
from services.payout.model.payouts import Payout

_PRINTABLE: Final = 256


class Method(IntEnum):
    """How a destination is confirmed."""

    SIGNATURE = 1
    TYPED_AGAIN = 2


class Challenge(NamedTuple):
    """What an owner has to do, and until when; `text` is empty where nothing is signed."""

    method: Method
    text: str
    expires_at: datetime


class NotAwaitingConfirmation(FailedPrecondition):
    """The payout does not wait for a confirmation."""


class ConfirmationExpired(FailedPrecondition):
    """The time to confirm is over; ask for a fresh text."""


class ConfirmationWrong(InvalidArgument):
    """The destination's wallet did not sign this text, or another address was typed."""


class ConfirmationMalformed(InvalidArgument):
    """That is no signature of 65 bytes in hex with its lower s; or a proof of the other kind is asked for."""


def text_of(payout: Payout, nonce: str, expires_at: datetime) -> str:
    """Return what the destination's wallet is to sign: all that the payout is, and good for nothing else."""
    lines = [
        "Creator economy: I confirm that this payout goes to my wallet.",
        "",
        f"Address: {payout.address}",
        f"Currency: {payout.currency}",
        f"Amount: {payout.amount_micro} micro-USD",
        f"Payout: {payout.payout_id}",
        f"Nonce: {nonce}",
        f"Valid until: {expires_at:%Y-%m-%dT%H:%M:%SZ}",
    ]
    return "\n".join(lines)


def check_signature(challenge: Challenge, address: str, signature: str) -> None:
    """Raise what is wrong with a signature of the challenge by an address."""
    if challenge.method is not Method.SIGNATURE or not ethereum.is_raw_signature(signature):
        raise ConfirmationMalformed(field="signature")
    try:
        signer = ethereum.signer(challenge.text, signature)
    except (ethereum.SignatureMalformed, ethereum.SignatureMalleable):
        raise ConfirmationMalformed(field="signature") from None
    if signer.lower() != address.lower():
        raise ConfirmationWrong(field="signature")


def check_typed(challenge: Challenge, address: str, typed: str) -> None:
    """Raise what is wrong with an address that was typed again; every letter counts."""
    if challenge.method is not Method.TYPED_AGAIN or not 1 <= len(typed) <= _PRINTABLE:
        raise ConfirmationMalformed(field="typed_address")
    if typed.strip() != address:
        raise ConfirmationWrong(field="typed_address")


def usable_from(now: datetime, method: Method, *, changed: bool, cooldown: timedelta) -> datetime:
    """Return from when payouts may go to a destination: one that was typed, or took another's place, rests first."""
    return now + cooldown if changed or method is Method.TYPED_AGAIN else now
