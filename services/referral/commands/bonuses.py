"""Bonuses change: made, denied, reviewed. Each change of state is told in the transaction that makes it.

A bonus is locked after the account, the code or the referrer's turn that it belongs to, and several in the order of
their ids.
"""

from datetime import datetime
from uuid import UUID

from libs import outbox
from libs.postgres import Connection
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2
from services.referral import metrics
from services.referral.commands import flags
from services.referral.model.bonuses import Bonus, BonusState, Budget
from services.referral.rules import bonuses as rules
from services.referral.store import bonuses


async def make(connection: Connection, bonus: Bonus) -> None:
    """Writes a new bonus. A pending one is told of once its budget is reserved."""
    if not await bonuses.insert(connection, bonus):
        raise AssertionError("in the referrer's turn nobody else makes a bonus for its referee")
    if bonus.state is BonusState.DENIED:
        await _tell(connection, bonus)


async def change(connection: Connection, bonus: Bonus, changed: Bonus) -> Bonus:
    """Writes what has changed of a locked bonus, and tells of it where others are to know."""
    if changed == bonus:
        return bonus
    await bonuses.save(connection, changed)
    has_budget_now = bonus.budget is Budget.ASKED and changed.budget is Budget.RESERVED
    if changed.state is not bonus.state or has_budget_now:
        await _tell(connection, changed)
    if changed.reason in rules.REVERSING:
        await flags.tell(connection, changed.referee_ref, changed.changed_at)
    return changed


async def review(connection: Connection, bonus_id: UUID, *, cleared: bool, reason: str, now: datetime) -> Bonus:
    """What a reviewer decided of a withheld bonus: it will be granted, or is denied for a coded reason.

    One that was denied meanwhile stays denied. Raises BonusUnknown, BonusNotWithheld.
    """
    bonus = await bonuses.lock(connection, bonus_id)
    if bonus is None:
        raise rules.BonusUnknown
    return await change(connection, bonus, rules.reviewed(bonus, cleared=cleared, reason=reason, now=now))


async def deny_open(connection: Connection, referrer_ref: UUID, reason: str, now: datetime) -> int:
    """Denies whatever of a referrer's bonuses is not decided, and returns how many; grants under way are left."""
    denied = 0
    for bonus in await bonuses.lock_open_of_referrer(connection, referrer_ref):
        changed = await change(connection, bonus, rules.denied(bonus, reason, now))
        denied += changed.state is BonusState.DENIED
    return denied


async def _tell(connection: Connection, bonus: Bonus) -> None:
    event = events_pb2.Bonus(
        bonus_id=str(bonus.bonus_id),
        referrer_ref=str(bonus.referrer_ref),
        referee_ref=str(bonus.referee_ref),
        state=events_pb2.BonusState.Value(f"BONUS_STATE_{bonus.state.name}"),
        reason=bonus.reason,
        amount_micro=bonus.amount_micro,
        action_kind=events_pb2.QualifyingActionKind.Value(f"QUALIFYING_ACTION_KIND_{bonus.kind.name}"),
        changed_at=to_timestamp(bonus.changed_at),
    )
    await outbox.append(connection, event, key=str(bonus.referrer_ref), occurred_at=bonus.changed_at)
    metrics.BONUSES.labels(bonus.state, bonus.reason).inc()
