"""When an account may be erased, and when it is."""

import uuid
from collections.abc import Collection
from typing import Final

from libs.refusals import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.referral.model.erasures import Money

SERVICES: Final = frozenset({"distribution", "payout", "score", "leaderboard"})
"""Whoever keeps something of an account beside referral: an erasure is done when all of them have reported."""


class AccountUnknown(NotFound):
    """No such account is known here; one that was erased is not known either."""


class ErasureUnknown(NotFound):
    """No such erasure."""


class ErasureIdInvalid(InvalidArgument):
    """An erasure's id is a UUID."""


class PayoutOpen(FailedPrecondition):
    """The account has a payout that is not final."""


class UnpaidEarnings(FailedPrecondition):
    """The account has unpaid earnings, and its owner has not agreed to forfeit them."""


class MoneyUnknown(Unavailable):
    """What the account is owed cannot be asked for now; nothing was changed."""


class ReporterUnknown(InvalidArgument):
    """Only the services that keep something of accounts report, each for itself and no fewer than no rows."""


def check_money(money: Money, *, forfeit_consent: bool) -> None:
    """Raises PayoutOpen or UnpaidEarnings.

    All unpaid earnings count, not only what is withdrawable: without an owner nobody could ever withdraw the rest.
    """
    if money.open_payout:
        raise PayoutOpen
    if money.unpaid_micro and not forfeit_consent:
        raise UnpaidEarnings(unpaid_micro=money.unpaid_micro)


def check_erasure_id(erasure_id: str) -> uuid.UUID:
    """Returns the id of an erasure, or raises ErasureIdInvalid."""
    try:
        return uuid.UUID(erasure_id)
    except ValueError:
        raise ErasureIdInvalid(field="erasure_id") from None


def check_reporter(service: str, caller: str, rows: int) -> str:
    """Returns the service that reports; one that says who it is may speak for itself only. Raises ReporterUnknown."""
    if service not in SERVICES or (caller in SERVICES and caller != service):
        raise ReporterUnknown(field="service")
    if rows < 0:
        raise ReporterUnknown(field="rows")
    return service


def is_complete(reported: Collection[str]) -> bool:
    """Whether everybody has reported."""
    return set(reported) >= SERVICES
