"""Cases are opened, or grow worse, within the transaction of what is found.

Locks go on from the commands' order: a bonus, then the referrer's code and standing, then a case, then the audit log.
"""

from datetime import datetime
from uuid import UUID

from libs.ids import new_id
from libs.postgres import Connection
from services.referral import metrics
from services.referral.commands import bonuses as moves
from services.referral.model.review import Case, CaseState, Decision, Finding, Subject
from services.referral.rules import review as rules
from services.referral.store import bonuses, review


async def open_case(connection: Connection, finding: Finding, now: datetime) -> None:
    """Opens a case, or adds what was found to the one that is open."""
    due_at = rules.due_at(now, urgent=finding.urgent)
    if await review.insert(connection, Case(new_id(), finding, CaseState.OPEN, now, due_at)):
        metrics.CASES.labels(finding.subject, "opened").inc()
        return
    case = await review.lock_open(connection, finding.subject, finding.referrer_ref, finding.referee_ref)
    # It may have been decided this instant; then what was found is a new case.
    if case is None:
        await review.insert(connection, Case(new_id(), finding, CaseState.OPEN, now, due_at))
    elif (worse := rules.merged(case, finding)) != case:
        await review.save(connection, worse)


async def hold_back(connection: Connection, referee_ref: UUID, reason: str, now: datetime) -> None:
    """Holds the bonus of a referee back for a case that is about to be opened, if it was cleared and is not sent."""
    found = await bonuses.find_of_referee(connection, referee_ref)
    if found is not None and (bonus := await bonuses.lock(connection, found.bonus_id)) is not None:
        await moves.change(connection, bonus, rules.withheld(bonus, reason, now))


async def close_standing(connection: Connection, account_ref: UUID, decision: Decision, now: datetime) -> None:
    """Decides the open case on a standing that an operator decided otherwise."""
    case = await review.lock_open(connection, Subject.STANDING, account_ref, None)
    if case is None:
        return
    await decided(connection, case, decision, now)


async def decided(connection: Connection, case: Case, decision: Decision, now: datetime) -> CaseState:
    """Writes a decision down on a case that is locked and open."""
    state = CaseState.CLEARED if decision.cleared else CaseState.CONFIRMED
    await review.decide(connection, case.case_id, state, decision.operator_id, decision.reason, now)
    metrics.CASES.labels(case.finding.subject, state).inc()
    return state
