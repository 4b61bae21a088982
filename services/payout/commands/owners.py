"""What owners do with their payouts and destinations."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Connection
from libs.refusals import FailedPrecondition
from services.payout.accounts import AccountSuspended
from services.payout.commands.opening import DestinationBlocked, challenge_for
from services.payout.model import Event, Money, Stage
from services.payout.model.destinations import Destination, DestinationState
from services.payout.model.payouts import Payout
from services.payout.rules import approvals, confirmations, requests
from services.payout.rules.confirmations import Challenge, Method
from services.payout.store import confirmations as store
from services.payout.store import destinations, limits, locks, payouts
from services.payout.store.payouts import With

OWNER = "owner"


class DestinationInUse(FailedPrecondition):
    """A payout that is not final goes to this destination."""


class DestinationNotConfirmed(FailedPrecondition):
    """The destination of this payout was removed or blocked; ask for a new payout."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What an owner brings: a signature, or the address typed again. `wallet_owner`: who has linked the address."""

    signature: str | None
    typed_address: str | None
    wallet_owner: UUID | None = None


async def own(connection: Connection, account_ref: UUID | None, payout_id: UUID, *, alone: bool = False) -> Payout:
    """Lock a payout of an account; raises PayoutUnknown for any other. `alone`: and whatever else it asks for waits."""
    if alone and account_ref is not None:
        await locks.account(connection, account_ref)
    payout = await payouts.lock(connection, payout_id)
    if payout is None or payout.account_ref != account_ref:
        raise requests.PayoutUnknown
    return payout


async def challenge(connection: Connection, clock: Clock, payout: Payout, lasts: timedelta) -> Challenge:
    """Ask anew for a confirmation; an earlier text is void."""
    if payout.stage not in {Stage.REQUESTED, Stage.AWAITING_CONFIRMATION} or not payout.needs_confirmation:
        raise confirmations.NotAwaitingConfirmation(stage=payout.stage.name)
    made = challenge_for(payout, clock.now(), lasts)
    await store.put(connection, payout, made)
    return made


async def confirm(connection: Connection, clock: Clock, payout: Payout, proof: Proof, cooldown: timedelta) -> Payout:
    """Take a payout on that its owner confirmed the destination of."""
    asked = await store.find(connection, payout.payout_id)
    destination = await destinations.find(connection, payout.destination_id)
    if payout.stage is not Stage.AWAITING_CONFIRMATION or asked is None or destination is None:
        raise confirmations.NotAwaitingConfirmation(stage=payout.stage.name)
    if destination.state is DestinationState.BLOCKED:
        raise DestinationBlocked
    now = clock.now()
    if asked.expires_at <= now:
        raise confirmations.ConfirmationExpired
    if proof.signature is not None:
        confirmations.check_signature(asked, destination.address, proof.signature)
    else:
        confirmations.check_typed(asked, destination.address, proof.typed_address or "")
    from_when = await _confirmed(connection, destination, asked.method, proof, now, cooldown)
    event = Event.APPROVAL_NEEDED if payout.approvals_needed else Event.READY
    also = With(confirmed_at=now, due_at=max(payout.due_at, from_when))
    return await payouts.move(connection, payout, event, now, actor=OWNER, also=also)


async def _confirmed(
    connection: Connection,
    destination: Destination,
    method: Method,
    proof: Proof,
    now: datetime,
    cooldown: timedelta,
) -> datetime:
    """Confirm a destination; returns from when this payout may go there."""
    first = destination.state is not DestinationState.CONFIRMED
    changed = first and await destinations.has_other_confirmed(
        connection, destination.account_ref, destination.destination_id
    )
    from_when = confirmations.usable_from(now, method, changed=changed, cooldown=cooldown)
    confirmed = await destinations.set_state(
        connection,
        destination,
        DestinationState.CONFIRMED,
        confirmed_at=now,
        usable_from=from_when if first else destination.usable_from,
    )
    if first:
        await destinations.tell(connection, confirmed, now, wallet_owner=proof.wallet_owner)
    # Another payout to an address that rests still, however often it signs, rests with it.
    return max(from_when, confirmed.usable_from or from_when)


async def cancel(connection: Connection, clock: Clock, payout: Payout, *, actor: str, reason: str) -> Payout:
    """Cancel a payout that was not handed over. What is held goes back after."""
    approvals.check_cancellable(payout)
    return await payouts.move(connection, payout, Event.CANCEL, clock.now(), actor=actor, also=With(reason))


async def retry(
    connection: Connection, clock: Clock, payout: Payout, terms: approvals.Limits, *, suspended: bool
) -> Payout:
    """Begin another round of a payout that failed; its money is held after."""
    if not approvals.is_retryable(payout):
        raise approvals.PayoutNotRetryable(stage=payout.stage.name)
    if suspended:
        raise AccountSuspended
    await _check_sum(connection, payout, terms)
    destination = await destinations.find(connection, payout.destination_id)
    if destination is None or destination.state is not DestinationState.CONFIRMED:
        raise DestinationNotConfirmed
    now = clock.now()
    also = With(
        money=Money.ASKED,
        held=False,
        manual=False,
        round=payout.round + payout.held,
        tries=0,
        due_at=max(now, destination.usable_from or now),
    )
    return await payouts.move(connection, payout, Event.RETRY, now, actor=OWNER, also=also)


async def _check_sum(connection: Connection, payout: Payout, terms: approvals.Limits) -> None:
    """Refuse a retry that operators would have to look at by what was paid since: what failed was in no sum."""
    so_far = await limits.so_far(connection, payout.account_ref)
    cumulative_micro = so_far.cumulative_micro + payout.amount_micro
    if approvals.needs(payout.amount_micro, cumulative_micro, terms).approvals > payout.approvals_needed:
        raise approvals.PayoutNotRetryable(
            "With what was paid since, this one needs an approval: ask for a new payout.", stage=payout.stage.name
        )


async def remove(connection: Connection, clock: Clock, account_ref: UUID | None, destination_id: UUID) -> Destination:
    """Remove a destination that no open payout uses; one that is blocked stays so."""
    if account_ref is not None:
        await locks.account(connection, account_ref)
    destination = await destinations.find(connection, destination_id)
    if destination is None or destination.account_ref != account_ref:
        raise requests.DestinationUnknown
    if destination.state in {DestinationState.REMOVED, DestinationState.BLOCKED}:
        return destination
    if await destinations.is_used(connection, destination_id):
        raise DestinationInUse
    removed = await destinations.set_state(connection, destination, DestinationState.REMOVED)
    await destinations.tell(connection, removed, clock.now())
    return removed
