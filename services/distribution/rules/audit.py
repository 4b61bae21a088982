"""What may be asked about audits, and what an audit's results mean."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, NotFound
from services.distribution.model.audit import AuditState, Result
from services.distribution.rules.texts import is_id, is_label

PAGE: Final = 50
MAX_PAGE: Final = 200
MAX_REASON: Final = 1000


class AuditUnknown(NotFound):
    """No such audit."""


class AuditIdInvalid(InvalidArgument):
    """An audit's id is a UUID."""


class AuditOrderInvalid(InvalidArgument):
    """Whoever asks for an audit says who, and why in 1 to 1000 printable characters."""


class AuditPageInvalid(InvalidArgument):
    """A page has 1 to 200 lines, and its token is one that an answer gave."""


def check_order(operator_id: str, reason: str) -> None:
    """Raise AuditOrderInvalid naming the field."""
    if not is_id(operator_id):
        raise AuditOrderInvalid(field="operator_id")
    if not reason.strip() or not is_label(reason, MAX_REASON):
        raise AuditOrderInvalid(field="reason")


def check_id(text: str, field: str = "audit_id") -> str:
    """Return a UUID in its one spelling; raises AuditIdInvalid."""
    try:
        return str(UUID(text))
    except ValueError:
        raise AuditIdInvalid(field=field) from None


def check_page(size: int) -> int:
    """Return the size of a page; raises AuditPageInvalid."""
    if not 0 <= size <= MAX_PAGE:
        raise AuditPageInvalid(field="page_size", limit=MAX_PAGE)
    return size or PAGE


def check_after_id(token: str) -> str | None:
    """Return the audit after which a page begins; raises AuditPageInvalid."""
    try:
        return str(UUID(token)) if token else None
    except ValueError:
        raise AuditPageInvalid(field="page_token") from None


def check_after_number(token: str) -> int:
    """Return the violation after which a page begins; raises AuditPageInvalid."""
    if not token:
        return 0
    if not (token.isascii() and token.isdecimal() and len(token) <= 9):  # noqa: PLR2004 - fits 32 bits
        raise AuditPageInvalid(field="page_token")
    return int(token)


def check_invariant(name: str) -> str:
    """Return the name of an invariant to list; raises AuditPageInvalid."""
    if name and not is_id(name):
        raise AuditPageInvalid(field="invariant")
    return name


def verdict(results: Sequence[Result]) -> AuditState:
    """Passed, or violated."""
    return AuditState.VIOLATED if any(each.violations for each in results) else AuditState.PASSED


def why_pause(results: Sequence[Result]) -> str:
    """Why payouts have to wait, with the first row of each invariant; empty where they need not."""
    broken = [each for each in results if each.pauses and each.violations]
    told = [f"{each.invariant} at {each.first[0].table} {each.first[0].row_key}" for each in broken]
    return f"audit: {'; '.join(told)}"[:MAX_REASON] if told else ""
