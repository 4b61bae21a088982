"""What may be asked, and how answers are paged."""

import re
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, NotFound
from services.score.model import Order

_ACCOUNT_ID: Final = re.compile(r"[ -~]{1,128}")
_OPERATOR_ID: Final = re.compile(r"[ -~]{1,128}")
_MAX_REASON: Final = 1000
MAX_REFS: Final = 500


class ScoreAccountIdInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters."""


class ScoreAccountRefInvalid(InvalidArgument):
    """A surrogate is a UUID; at most 500 are asked for at once."""


class ScoreOrderInvalid(InvalidArgument):
    """An operator is named by 1 to 128 printable ASCII characters and gives a reason of 1 to 1000 characters."""


class ScoreIdInvalid(InvalidArgument):
    """The id is no UUID."""


class ScorePageInvalid(InvalidArgument):
    """The page is too large, or its token is not one that an answer gave."""


class RunUnknown(NotFound):
    """No such run."""


class ImportUnknown(NotFound):
    """No such import."""


class SnapshotUnknown(NotFound):
    """No such snapshot."""


def check_account_id(account_id: str) -> str:
    """Return an account id as it is; raises ScoreAccountIdInvalid."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise ScoreAccountIdInvalid(field="account_id")
    return account_id


def check_refs(account_refs: list[str]) -> list[UUID]:
    """Return surrogates; raises ScoreAccountRefInvalid."""
    if len(account_refs) > MAX_REFS:
        raise ScoreAccountRefInvalid(field="account_refs", limit=MAX_REFS)
    try:
        return [UUID(each) for each in account_refs]
    except ValueError:
        raise ScoreAccountRefInvalid(field="account_refs") from None


def check_order(operator_id: str, reason: str) -> Order:
    """Return who asks and why; raises ScoreOrderInvalid."""
    if not _OPERATOR_ID.fullmatch(operator_id):
        raise ScoreOrderInvalid(field="operator_id")
    if not 1 <= len(reason.strip()) <= _MAX_REASON or not reason.strip().isprintable():
        raise ScoreOrderInvalid(field="reason")
    return Order(operator_id, reason.strip())


def check_id(identifier: str, field: str) -> UUID:
    """Return a UUID; raises ScoreIdInvalid naming the field."""
    try:
        return UUID(identifier)
    except ValueError:
        raise ScoreIdInvalid(field=field) from None


def check_size(size: int, *, most: int, usual: int) -> int:
    """Return the size of a page; raises ScorePageInvalid."""
    if not 0 <= size <= most:
        raise ScorePageInvalid(field="page_size", limit=most)
    return size or usual


def read_id_token(token: str) -> UUID | None:
    """Return the id that a page goes on after; None for the beginning."""
    if not token:
        return None
    try:
        return UUID(hex=token)
    except ValueError:
        raise ScorePageInvalid(field="page_token") from None


def read_number_token(token: str) -> int:
    """Return the number that a page goes on after; -1 for the beginning."""
    if not token:
        return -1
    if not (token.isascii() and token.isdecimal() and len(token) <= 18):  # noqa: PLR2004 - fits 64 bits
        raise ScorePageInvalid(field="page_token")
    return int(token)


def read_largest_token(token: str) -> tuple[int, UUID] | None:
    """Return reward and account that a page of allocations goes on after; None for the beginning."""
    if not token:
        return None
    amount, _, account_ref = token.partition(".")
    last = read_id_token(account_ref)
    if last is None:
        raise ScorePageInvalid(field="page_token")
    return read_number_token(amount or "x"), last
