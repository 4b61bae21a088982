"""Who may bind through a code."""

import re
import uuid
from datetime import datetime, timedelta

from libs.refusals import FailedPrecondition, InvalidArgument, Refusal, ResourceExhausted
from services.referral.model import (
    Attempt,
    Code,
    Facts,
    Kind,
    Limits,
    Outcome,
    Registered,
    Registration,
    SignUp,
    Standing,
)
from services.referral.rules.codes import check_accepting, typed_code

_CHANNEL = re.compile(r"[a-z0-9_-]{1,32}")


class ChannelInvalid(InvalidArgument):
    """A channel is at most 32 of a-z, 0-9, - and _."""


class ReferrerSuspended(FailedPrecondition):
    """The referral code does not accept registrations at present."""


class SelfReferral(FailedPrecondition):
    """An account cannot register with its own code."""


class SameWallet(FailedPrecondition):
    """The account has a wallet or a payout address in common with the owner of the code."""


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


def check_channel(channel: str) -> str | None:
    """A channel tag, or None for an empty one."""
    if not channel:
        return None
    if not _CHANNEL.fullmatch(channel):
        raise ChannelInvalid(field="channel")
    return channel


def check_registration(facts: Facts, account_created_at: datetime | None, *, now: datetime, limits: Limits) -> Code:
    """The code to bind through, or a refusal. The order of checks decides which reason is told.

    An account that is bound already never gets here: that is a success which changes nothing.
    """
    code = check_accepting(facts.code)
    if facts.standing in (Standing.SUSPENDED, Standing.FORFEITED):
        raise ReferrerSuspended
    if code.owner_ref == facts.referee_ref:
        raise SelfReferral
    if facts.same_wallet:
        raise SameWallet
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


def _check_age(account_created_at: datetime | None, *, now: datetime, limits: Limits) -> None:
    if account_created_at is None:
        raise AccountAgeUnknown
    age: timedelta = now - account_created_at
    if age < -limits.clock_skew:
        raise AccountAgeInvalid
    if age > limits.account_age:
        raise AccountTooOld
