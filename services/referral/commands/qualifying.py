"""Actions of referees, by whoever tells of them: the first that is large enough earns the referrer a bonus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs.clock import Clock
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from services.referral import metrics
from services.referral.commands import bonuses as moves
from services.referral.model import Kind
from services.referral.model.bonuses import (
    Action,
    ActionKind,
    ActionOutcome,
    ActionSource,
    Bonus,
    BonusTerms,
    Purchase,
)
from services.referral.rules import bonuses as rules
from services.referral.store import accounts, actions, bonuses, registrations


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of an action, now or when it was told first."""

    outcome: ActionOutcome
    bonus: Bonus | None
    replayed: bool


@retried
async def record_action(
    postgres: Postgres, clock: Clock, terms: BonusTerms, account_id: str, action: Action
) -> Recorded:
    """Takes an action that billing reports (its `account_ref` is filled in here); the same again changes nothing.

    Raises ActionMismatch, ActionTimeInvalid.
    """
    async with postgres.transaction() as connection:
        # The account's lock: an action and a registration of the same account come one after the other.
        action = replace(action, account_ref=await accounts.lock(connection, account_id))
        purchase = (await actions.find_purchases(connection, [action.action_id])).get(action.action_id)
        recorded = await _record(connection, action, purchase, now=clock.now(), terms=terms)
    _count(action, recorded)
    return recorded


async def take_purchases(
    connection: Connection, purchases: Sequence[Purchase], *, now: datetime, terms: BonusTerms
) -> None:
    """Takes how purchases stand, in the order in which that was told, within a batch of events.

    A confirmed one that is large enough is a qualifying action; one that is paid back denies what it earned.
    """
    known = await actions.find_purchases(connection, [each.order_id for each in purchases])
    for purchase in purchases:
        before = known.get(purchase.order_id)
        # A refund does not say whether the whole price was ever there.
        known[purchase.order_id] = replace(purchase, confirmed=purchase.confirmed or bool(before and before.confirmed))
    changed = [known[order_id] for order_id in dict.fromkeys(each.order_id for each in purchases)]
    await actions.save_purchases(connection, changed)
    await _qualify(connection, changed, now=now, terms=terms)
    refunded = {each.order_id: each for each in changed if each.refunded}
    for bonus in await bonuses.lock_of_actions(connection, list(refunded)) if refunded else []:
        await moves.change(connection, bonus, rules.refunded(bonus, refunded[bonus.action_id], now, terms))


async def _qualify(connection: Connection, purchases: Sequence[Purchase], *, now: datetime, terms: BonusTerms) -> None:
    enough = {
        each.account_ref: each
        for each in reversed(purchases)
        if each.confirmed and each.net_paid_micro >= rules.minimum_micro(ActionKind.CREDIT_PURCHASE, terms)
    }
    if not enough:
        return
    referrers = await actions.find_referrers(connection, list(enough))
    # In one order, so that batches of two partitions never wait for each other crosswise.
    for referrer_ref in sorted(set(referrers.values())):
        await bonuses.take_turn(connection, referrer_ref)
    for account_ref in referrers:
        purchase = enough[account_ref]
        action = Action(
            ActionSource.PURCHASE,
            ActionKind.CREDIT_PURCHASE,
            purchase.order_id,
            account_ref,
            purchase.net_paid_micro,
            purchase.changed_at,
        )
        if await actions.find(connection, action) is None:
            _count(action, await _record(connection, action, None, now=now, terms=terms))


async def _record(
    connection: Connection, action: Action, purchase: Purchase | None, *, now: datetime, terms: BonusTerms
) -> Recorded:
    registration = await registrations.find(connection, action.account_ref)
    if registration is not None and registration.kind is Kind.REFERRED and registration.referrer_ref is not None:
        await bonuses.take_turn(connection, registration.referrer_ref)
    if earlier := await actions.find(connection, action):
        return await _replayed(connection, action, earlier)
    rules.check_time(action, now, terms)
    had = await bonuses.find_of_referee(connection, action.account_ref)
    outcome = rules.outcome(action, rules.net_micro(action, purchase), registration, had, terms)
    if not await actions.insert(connection, action, outcome, now):
        earlier = await actions.find(connection, action)
        if earlier is None:
            raise AssertionError("an action that is there is found")
        return await _replayed(connection, action, earlier)
    if outcome is not ActionOutcome.BONUS or registration is None or registration.referrer_ref is None:
        return Recorded(outcome, None, replayed=False)
    count = await bonuses.count_earned(connection, registration.referrer_ref, now - terms.cap_window)
    bonus = rules.bonus(new_id(), action, registration.referrer_ref, count, now=now, terms=terms)
    await moves.make(connection, bonus)
    return Recorded(outcome, bonus, replayed=False)


async def _replayed(connection: Connection, action: Action, earlier: tuple[Action, ActionOutcome]) -> Recorded:
    recorded, outcome = earlier
    rules.check_same_action(recorded, action)
    bonus = await bonuses.find_of_referee(connection, action.account_ref) if outcome is ActionOutcome.BONUS else None
    return Recorded(outcome, bonus, replayed=True)


def _count(action: Action, recorded: Recorded) -> None:
    if not recorded.replayed:
        metrics.ACTIONS.labels(action.source, recorded.outcome).inc()
