"""What may be looked up."""

import base64
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.distribution.rules.refusals import (
    AccountNamesTooMany,
    ChargeIdInvalid,
    LedgerAccountInvalid,
    LedgerPageInvalid,
    NameInvalid,
    PayerInvalid,
    ReasonInvalid,
    RefInvalid,
    RevisionInvalid,
)
from services.distribution.rules.texts import is_id, is_label

MAX_NAMES = 100
MAX_PAGE = 1000
PAGE = 200
MAX_REASON = 1000


def check_charge_id(charge_id: str) -> str:
    """Return a charge id that may be looked up; raises ChargeIdInvalid."""
    if not is_id(charge_id):
        raise ChargeIdInvalid(field="inference_charge_id")
    return charge_id


def check_account_id(account_id: str) -> str:
    """Return an account id that may be looked up; raises AccountInvalid."""
    if not is_id(account_id):
        raise PayerInvalid(field="account_id")
    return account_id


def check_ref(account_ref: str, field: str) -> str:
    """Return a surrogate in its one spelling; raises RefInvalid naming the field."""
    try:
        return str(UUID(account_ref))
    except ValueError:
        raise RefInvalid(field=field) from None


def check_revision(revision: int) -> int:
    """Return the revision of a standing; raises RevisionInvalid."""
    if revision < 1:
        raise RevisionInvalid(field="standing_revision")
    return revision


def check_account_names(names: Sequence[str]) -> list[str]:
    """Return names of ledger accounts that may be looked up; raises LedgerAccountInvalid or AccountNamesTooMany."""
    if len(names) > MAX_NAMES:
        raise AccountNamesTooMany(field="account_names", limit=MAX_NAMES)
    if not all(is_id(name) for name in names):
        raise LedgerAccountInvalid(field="account_names")
    return list(names)


def check_prefix(prefix: str) -> str:
    """Return what names of ledger accounts may begin with; raises LedgerAccountInvalid."""
    if prefix and not is_id(prefix):
        raise LedgerAccountInvalid(field="name_prefix")
    return prefix


def check_page(size: int, token: str) -> int:
    """Return the size of a page of balances; raises LedgerPageInvalid."""
    if not 0 <= size <= MAX_PAGE:
        raise LedgerPageInvalid(field="page_size", limit=MAX_PAGE)
    if token and not is_id(token):
        raise LedgerPageInvalid(field="page_token")
    return size or PAGE


def check_name(text: str, field: str) -> str:
    """Return an outside id; raises NameInvalid naming the field."""
    if not is_id(text):
        raise NameInvalid(field=field)
    return text


def check_operator(operator_id: str, reason: str) -> None:
    """Whoever decides says who and why; raises NameInvalid or ReasonInvalid."""
    check_name(operator_id, "operator_id")
    if not reason.strip() or not is_label(reason, MAX_REASON):
        raise ReasonInvalid(field="reason")


def timed_token(instant: datetime, name: str) -> str:
    """Where a page that is ordered by time and name goes on."""
    return base64.urlsafe_b64encode(f"{instant.isoformat()} {name}".encode()).decode()


def check_timed_page(size: int, token: str) -> tuple[int, tuple[datetime, str] | None]:
    """Return the size of such a page and where it begins; raises LedgerPageInvalid."""
    if not 0 <= size <= MAX_PAGE:
        raise LedgerPageInvalid(field="page_size", limit=MAX_PAGE)
    if not token:
        return size or PAGE, None
    try:
        instant, _, name = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(" ")
        after = datetime.fromisoformat(instant)
    except ValueError:
        raise LedgerPageInvalid(field="page_token") from None
    if after.tzinfo is None or not is_id(name):
        raise LedgerPageInvalid(field="page_token")
    return size or PAGE, (after, name)
