"""Decisions of referral: what a code may look like, and who may bind through one."""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Refusal, ResourceExhausted
from services.referral.model import (
    Attempt,
    Code,
    CodeState,
    CodeWish,
    EndReason,
    Facts,
    Kind,
    Limits,
    Outcome,
    Registered,
    Registration,
    SignUp,
    Standing,
)

ALPHABET: Final = "0123456789abcdefghjkmnpqrstuvwxyz"
CODE_LENGTH: Final = 10
MAX_BATCH: Final = 500
MAX_TYPED: Final = 32
MAX_USES: Final = 10**9

_ACCOUNT_ID = re.compile(r"[ -~]{1,128}")
_CODE = re.compile(r"[0-9a-z]{8,12}")
_CHANNEL = re.compile(r"[a-z0-9_-]{1,32}")

# A vanity code that holds one of these could pass for the platform or its staff.
RESERVED: Final = (
    "admin", "arrakis", "billing", "commons", "creator", "foundation", "honeyjar", "moderator", "nowpayments",
    "official", "operator", "payout", "referral", "reserve", "security", "staff", "support", "system", "treasury",
    "verified",
)  # fmt: skip
# Digits that read as letters, and letters that read as each other: "supp0rt", "officia1", "adm1n".
_LOOK_ALIKES = str.maketrans("013457i", "oleastl")
_RESERVED_SHAPES: Final = tuple(word.translate(_LOOK_ALIKES) for word in RESERVED)


class AccountIdInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters."""


class TooManyAccounts(InvalidArgument):
    """At most 500 accounts can be resolved in one call."""


class ChannelInvalid(InvalidArgument):
    """A channel is at most 32 of a-z, 0-9, - and _."""


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


class CodeRevoked(FailedPrecondition):
    """The referral code was revoked."""


class ReferrerSuspended(FailedPrecondition):
    """The referral code does not accept registrations at present."""


class SelfReferral(FailedPrecondition):
    """An account cannot register with its own code."""


class LockedOrganic(FailedPrecondition):
    """The account was in use before it came with a code, and stays without a referrer."""


class AccountAgeUnknown(FailedPrecondition):
    """The token does not say when the account was created."""


class AccountAgeInvalid(FailedPrecondition):
    """The token says that the account will be created in the future."""


class AccountTooOld(FailedPrecondition):
    """A code belongs to sign-up: the account is too old to register with one."""


class CodeVelocityExceeded(ResourceExhausted):
    """Too many registrations with this code within the hour."""


def check_account_id(account_id: str, field: str = "account_id") -> str:
    """Returns an outside id as it is, or raises AccountIdInvalid naming the field."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise AccountIdInvalid(field=field)
    return account_id


def check_account_ids(account_ids: Sequence[str]) -> list[str]:
    """The distinct ids in the order asked."""
    if len(account_ids) > MAX_BATCH:
        raise TooManyAccounts(field="account_ids")
    for index, account_id in enumerate(account_ids):
        check_account_id(account_id, f"account_ids[{index}]")
    return list(dict.fromkeys(account_ids))


def check_channel(channel: str) -> str | None:
    """A channel tag, or None for an empty one."""
    if not channel:
        return None
    if not _CHANNEL.fullmatch(channel):
        raise ChannelInvalid(field="channel")
    return channel


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


def check_registration(facts: Facts, account_created_at: datetime | None, *, now: datetime, limits: Limits) -> Code:
    """The code to bind through, or a refusal. The order of checks decides which reason is told.

    An account that is bound already never gets here: that is a success which changes nothing.
    """
    code = _accepting(facts.code)
    if facts.standing in (Standing.SUSPENDED, Standing.FORFEITED):
        raise ReferrerSuspended
    if code.owner_ref == facts.referee_ref:
        raise SelfReferral
    if facts.binding is not None and facts.binding.kind is Kind.ORGANIC:
        raise LockedOrganic
    _check_age(account_created_at, now=now, limits=limits)
    if facts.bindings_in_window >= limits.bindings_per_code:
        raise CodeVelocityExceeded
    return code


def registration(referee_ref: uuid.UUID, code: Code, channel: str | None, now: datetime) -> Registration:
    """The binding of a referee to the owner of a code."""
    return Registration(referee_ref, Kind.REFERRED, now, code.owner_ref, code.code_ref, channel)


def attempt(
    sign_up: SignUp, referee_ref: uuid.UUID, code: Code | None, answer: Registered | Refusal, now: datetime
) -> Attempt:
    """The line of the attribution log for one attempt, whatever came of it; it holds no outside id."""
    reason = answer.reason if isinstance(answer, Refusal) else None
    bound = Outcome.ALREADY_BOUND if isinstance(answer, Registered) and answer.already_bound else Outcome.BOUND
    return Attempt(
        referee_ref=referee_ref,
        code_typed=typed_code(sign_up.code),
        code_ref=code.code_ref if code else None,
        channel=sign_up.channel,
        outcome=bound if reason is None else Outcome.REFUSED,
        reason=reason,
        attempted_at=now,
    )


def velocity_since(now: datetime, limits: Limits) -> datetime:
    """Bindings after this instant count against the velocity limit."""
    return now - limits.velocity_window


def _accepting(code: Code | None) -> Code:
    if code is None:
        raise CodeUnknown
    if code.state is CodeState.REVOKED:
        raise CodeRevoked
    if code.end_reason is EndReason.TIME:
        raise CodeExpired
    if code.end_reason is EndReason.USES:
        raise CodeExhausted
    return code


def _check_age(account_created_at: datetime | None, *, now: datetime, limits: Limits) -> None:
    if account_created_at is None:
        raise AccountAgeUnknown
    age: timedelta = now - account_created_at
    if age < -limits.clock_skew:
        raise AccountAgeInvalid
    if age > limits.account_age:
        raise AccountTooOld


def _vanity_code(text: str) -> str:
    code = text.lower() if text.isascii() else ""
    if not _CODE.fullmatch(code):
        raise VanityCodeInvalid(field="vanity_code")
    shape = code.translate(_LOOK_ALIKES)
    if any(word in shape for word in _RESERVED_SHAPES):
        raise VanityCodeReserved(field="vanity_code")
    return code
