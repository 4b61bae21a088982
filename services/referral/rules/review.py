"""What may be asked of the review queue, and when a case is overdue."""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.refusals import FailedPrecondition, InvalidArgument, NotFound
from services.referral.model.bonuses import Bonus, BonusState
from services.referral.model.review import Case, CasePlace, CaseState, Finding
from services.referral.rules.operators import is_text

SLA: Final = timedelta(hours=72)
SLA_URGENT: Final = timedelta(hours=24)
PAGE: Final = 50
MAX_PAGE: Final = 200
MAX_BULK: Final = 100
MAX_NOTE: Final = 2000
RELATED_MAX: Final = 50

_PLACE_PARTS: Final = 3


class CaseIdInvalid(InvalidArgument):
    """A case is named by its UUID."""


class CaseUnknown(NotFound):
    """No such case."""


class CaseDecided(FailedPrecondition):
    """The case has been decided."""


class DecisionInvalid(InvalidArgument):
    """A decision is to clear or to confirm."""


class CasesTooMany(InvalidArgument):
    """1 to 100 cases can be decided in one call."""


class CaseFilterInvalid(InvalidArgument):
    """There is no such state, subject or urgency."""


class CasesPageInvalid(InvalidArgument):
    """A page of the queue has 1 to 200 cases and goes on where a former one ended."""


class NoteInvalid(InvalidArgument):
    """A note is 1 to 2000 characters."""


def check_case_id(case_id: str, field: str = "case_id") -> uuid.UUID:
    """The id of a case, or CaseIdInvalid."""
    try:
        return uuid.UUID(case_id)
    except ValueError:
        raise CaseIdInvalid(field=field) from None


def check_case_ids(case_ids: Sequence[str]) -> list[uuid.UUID]:
    """Ids of cases in the order sent."""
    if not 1 <= len(case_ids) <= MAX_BULK:
        raise CasesTooMany(field="case_ids")
    return [check_case_id(case_id, f"case_ids[{index}]") for index, case_id in enumerate(case_ids)]


def check_note(text: str) -> str:
    """A note as it was written."""
    if not is_text(text, MAX_NOTE):
        raise NoteInvalid(field="text")
    return text


def check_open(case: Case) -> None:
    """A case is decided once."""
    if case.state is not CaseState.OPEN:
        raise CaseDecided(state=case.state)


def check_page(size: int, token: str) -> tuple[int, CasePlace | None]:
    """The size of a page, and the place it begins after."""
    if not 0 <= size <= MAX_PAGE:
        raise CasesPageInvalid(field="page_size")
    return size or PAGE, _place(token) if token else None


def token_of(case: Case) -> str:
    """Where a page that ends with this case goes on."""
    text = f"{int(case.finding.urgent)} {case.opened_at.isoformat()} {case.case_id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def due_at(opened_at: datetime, *, urgent: bool) -> datetime:
    """When a case is overdue."""
    return opened_at + (SLA_URGENT if urgent else SLA)


def merged(case: Case, finding: Finding) -> Case:
    """An open case with a later finding of the same: the worse of both counts, and no clock is turned back."""
    urgent = case.finding.urgent or finding.urgent
    related = tuple(dict.fromkeys((*finding.related_refs, *case.finding.related_refs)))[:RELATED_MAX]
    newest = finding if finding.risk_score >= case.finding.risk_score else case.finding
    due = min(case.due_at, max(due_at(case.opened_at, urgent=urgent), case.opened_at))
    return replace(case, finding=replace(newest, urgent=urgent, related_refs=related), due_at=due)


def withheld(bonus: Bonus, reason: str, now: datetime) -> Bonus:
    """A bonus that was cleared and not sent yet, held back for a new case; any other one as it is."""
    if not bonus.is_open or bonus.cleared_at is None or bonus.sent_at is not None:
        return bonus
    return replace(
        bonus,
        state=BonusState.WITHHELD,
        flagged=True,
        reason=reason,
        cleared_at=None,
        cleared_by=None,
        changed_at=now,
    )


def waits_for_review(bonus: Bonus) -> bool:
    """Whether a reviewer's clearing is what the bonus waits for."""
    return bonus.state is BonusState.WITHHELD and bonus.cleared_at is None


def _place(token: str) -> CasePlace:
    try:
        parts = base64.b64decode(token, altchars=b"-_", validate=True).decode().split(" ")
        if len(parts) != _PLACE_PARTS or parts[0] not in {"0", "1"}:
            raise CasesPageInvalid(field="page_token")
        opened_at = datetime.fromisoformat(parts[1])
        case_id = uuid.UUID(parts[2])
    except ValueError:
        raise CasesPageInvalid(field="page_token") from None
    if opened_at.tzinfo is None:
        raise CasesPageInvalid(field="page_token")
    return CasePlace(parts[0] == "1", opened_at, case_id)
