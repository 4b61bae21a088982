"""What an outside id may look like."""

import re
import uuid
from collections.abc import Sequence
from typing import Final

from libs.refusals import InvalidArgument

MAX_BATCH: Final = 500

_ACCOUNT_ID = re.compile(r"[ -~]{1,128}")


class AccountIdInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters."""


class AccountRefInvalid(InvalidArgument):
    """A surrogate is a UUID."""


class TooManyAccounts(InvalidArgument):
    """At most 500 accounts can be resolved in one call."""


def check_account_id(account_id: str, field: str = "account_id") -> str:
    """Returns an outside id as it is, or raises AccountIdInvalid naming the field."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise AccountIdInvalid(field=field)
    return account_id


def check_account_ref(account_ref: str, field: str = "account_ref") -> uuid.UUID:
    """Returns a surrogate, or raises AccountRefInvalid naming the field."""
    try:
        return uuid.UUID(account_ref)
    except ValueError:
        raise AccountRefInvalid(field=field) from None


def check_account_ids(account_ids: Sequence[str]) -> list[str]:
    """The distinct ids in the order asked."""
    if len(account_ids) > MAX_BATCH:
        raise TooManyAccounts(field="account_ids")
    for index, account_id in enumerate(account_ids):
        check_account_id(account_id, f"account_ids[{index}]")
    return list(dict.fromkeys(account_ids))
