"""What a code may look like, and how it ends."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.referral.model import Code, CodeState, CodeWish, EndReason

ALPHABET: Final = "0123456789abcdefghjkmnpqrstuvwxyz"
CODE_LENGTH: Final = 10
MAX_TYPED: Final = 32
MAX_USES: Final = 10**9

_CODE = re.compile(r"[0-9a-z]{8,12}")

# A vanity code that holds one of these could pass for the platform or its staff.
RESERVED: Final = (
    "admin", "arrakis", "billing", "commons", "creator", "foundation", "honeyjar", "moderator", "nowpayments",
    "official", "operator", "payout", "referral", "reserve", "security", "staff", "support", "system", "treasury",
    "verified",
)  # fmt: skip
# Digits that read as letters, and letters that read as each other: "supp0rt", "officia1", "adm1n".
_LOOK_ALIKES = str.maketrans("013457i", "oleastl")
_RESERVED_SHAPES: Final = tuple(word.translate(_LOOK_ALIKES) for word in RESERVED)


class VanityCodeInvalid(InvalidArgument):
    """A vanity code is 8 to 12 letters and digits."""


class VanityCodeReserved(InvalidArgument):
    """The vanity code holds a reserved word."""


class CodeExpiryInvalid(InvalidArgument):
    """A code must expire in the future."""


class CodeMaxUsesInvalid(InvalidArgument):
    """The limit of uses is 0 (none) to 1,000,000,000."""


class CodeTaken(AlreadyExists):
    """The code is, or once was, somebody's."""


class ActiveCodeExists(FailedPrecondition):
    """The account has another active code."""


class NoActiveCode(NotFound):
    """The account has no active referral code."""


class CodeUnknown(NotFound):
    """No such referral code."""


class CodeExpired(FailedPrecondition):
    """The referral code has expired."""


class CodeExhausted(FailedPrecondition):
    """The referral code has been used as often as it may be."""


class CodeEnded(FailedPrecondition):
    """The referral code is not active any more."""


class CodeRevoked(FailedPrecondition):
    """The referral code was revoked."""


def typed_code(text: str) -> str:
    """A code as somebody typed it, made fit to be looked up and logged: trimmed, cut, lower case, printable."""
    cut = text[: 4 * MAX_TYPED].strip()[:MAX_TYPED]
    # Only ASCII is folded: "K" (the Kelvin sign) is not a "k".
    return "".join(letter.lower() if " " <= letter <= "~" else "?" for letter in cut)


def check_wish(vanity: str, expires_at: datetime | None, max_uses: int) -> CodeWish:
    """What can be said of a wanted code without looking at the time or at other codes."""
    if not 0 <= max_uses <= MAX_USES:
        raise CodeMaxUsesInvalid(field="max_uses")
    wanted = _vanity_code(vanity) if vanity else None
    return CodeWish(vanity=wanted, expires_at=expires_at, max_uses=max_uses or None)


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuses a code that would be born expired."""
    if expires_at is not None and expires_at <= now:
        raise CodeExpiryInvalid(field="expires_at")


def check_same_code(active: Code, wish: CodeWish) -> None:
    """Asking again returns the active code, unless another one is asked for by name."""
    if wish.vanity not in (None, active.code):
        raise ActiveCodeExists(field="vanity_code")


def share_url(base_url: str, code: str, channel: str | None) -> str:
    """The link to the sign-up page with a code in it, and the channel it is seen on."""
    parts = {"code": code} | ({"channel": channel} if channel else {})
    return f"{base_url}{'&' if '?' in base_url else '?'}{urlencode(parts)}"


def revoked(code: Code, now: datetime) -> Code:
    """The code after an operator ended it. Raises CodeEnded for one that is not active."""
    if code.state is not CodeState.ACTIVE:
        raise CodeEnded(state=code.state)
    return replace(code, state=CodeState.REVOKED, ended_at=now, end_reason=EndReason.OPERATOR)


def draw_code(choose: Callable[[str], str]) -> str:
    """A random code; `choose` picks one character without bias (secrets.choice)."""
    return "".join(choose(ALPHABET) for _ in range(CODE_LENGTH))


def ended_by_time(code: Code, now: datetime) -> Code:
    """The code as it is at `now`: expired when its time is over, and then since that time, whoever notices when."""
    if code.state is not CodeState.ACTIVE or code.expires_at is None or code.expires_at > now:
        return code
    return replace(code, state=CodeState.EXPIRED, ended_at=code.expires_at, end_reason=EndReason.TIME)


def used(code: Code, now: datetime) -> Code:
    """The code after one more binding: the last use that it allows ends it."""
    uses = code.uses + 1
    if code.max_uses is None or uses < code.max_uses:
        return replace(code, uses=uses)
    return replace(code, uses=uses, state=CodeState.EXPIRED, ended_at=now, end_reason=EndReason.USES)


def check_accepting(code: Code | None) -> Code:
    """The code if it accepts registrations, else the refusal that says why not."""
    if code is None:
        raise CodeUnknown
    if code.state is CodeState.REVOKED:
        raise CodeRevoked
    if code.end_reason is EndReason.TIME:
        raise CodeExpired
    if code.end_reason is EndReason.USES:
        raise CodeExhausted
    return code


def _vanity_code(text: str) -> str:
    code = text.lower() if text.isascii() else ""
    if not _CODE.fullmatch(code):
        raise VanityCodeInvalid(field="vanity_code")
    shape = code.translate(_LOOK_ALIKES)
    if any(word in shape for word in _RESERVED_SHAPES):
        raise VanityCodeReserved(field="vanity_code")
    return code
