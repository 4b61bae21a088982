"""What operators do with payouts: two of them where it matters, and each with a reason that is kept."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from libs.clock import Clock
from libs.four_eyes import is_same_person
from libs.ids import new_id
from libs.postgres import Connection
from services.payout.model import Event, Order, Stage
from services.payout.model.payouts import Payout
from services.payout.model.proposals import Proposal, ProposalKind, ProposalState
from services.payout.rules import approvals as rules
from services.payout.rules import requests
from services.payout.store import accounts, limits, locks, orders, payouts
from services.payout.store import operators as store
from services.payout.store.payouts import With

_BY_HAND = frozenset({Stage.QUEUED, Stage.REJECTED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a payout ended, as an operator says; amounts in micro-USD."""

    proof: str
    sent_micro: int
    fee_micro: int


async def locked(connection: Connection, payout_id: UUID) -> Payout:
    """Lock a payout; raises PayoutUnknown."""
    payout = await payouts.lock(connection, payout_id)
    if payout is None:
        raise requests.PayoutUnknown
    return payout


async def approve(connection: Connection, clock: Clock, payout: Payout, order: Order) -> Payout:
    """Count one operator's approval; with as many as are needed the payout is queued."""
    known = (await store.approvals(connection, [payout.payout_id]))[payout.payout_id]
    owner = await accounts.id_of(connection, payout.account_ref)
    rules.check_approval(payout, order.operator_id, {each.operator_id for each in known}, owner)
    now = clock.now()
    await store.approve(connection, payout, order, now)
    if len(known) + 1 < payout.approvals_needed:
        return payout
    actor, also = _actor(order), With(approved_at=now)
    return await payouts.move(connection, payout, Event.READY, now, actor=actor, also=also)


async def decline(connection: Connection, clock: Clock, payout: Payout, order: Order) -> Payout:
    """Decline a payout that waits for operators; its money goes back after."""
    if payout.stage is not Stage.AWAITING_APPROVAL:
        raise rules.NotAwaitingApproval(stage=payout.stage.name)
    now = clock.now()
    await orders.note(connection, payout.payout_id, "DECLINE", order, now)
    return await payouts.move(connection, payout, Event.DECLINE, now, actor=_actor(order), also=With("DECLINED"))


async def stop(connection: Connection, clock: Clock, payout: Payout, order: Order) -> Payout:
    """Cancel a payout that was not handed over; its money goes back after."""
    rules.check_cancellable(payout)
    now = clock.now()
    await orders.note(connection, payout.payout_id, "STOP", order, now)
    also = With("STOPPED_BY_OPERATOR")
    return await payouts.move(connection, payout, Event.CANCEL, now, actor=_actor(order), also=also)


async def allow_early(
    connection: Connection, clock: Clock, account_ref: UUID, order: Order, lasts: timedelta
) -> limits.Permission:
    """Let an account ask again within 24 hours, once."""
    rules.check_not_own(order.operator_id, await accounts.id_of(connection, account_ref))
    now = clock.now()
    permission = limits.Permission(new_id(), account_ref, now + lasts)
    await limits.permit(connection, permission, order, now)
    return permission


async def propose_resolution(
    connection: Connection, clock: Clock, payout: Payout, kind: ProposalKind, outcome: Outcome, order: Order
) -> Proposal:
    """Propose how a payout ended that nobody hears of any more."""
    await _check_resolvable(connection, payout, kind)
    rules.check_sent(payout, outcome.sent_micro, outcome.fee_micro, was_sent=kind is ProposalKind.COMPLETED)
    if kind is ProposalKind.COMPLETED:
        await _check_proof(connection, payout, outcome.proof)
    return await _propose(connection, clock, payout, kind, outcome, order)


async def propose_manual(connection: Connection, clock: Clock, payout: Payout, order: Order) -> Proposal:
    """Propose that a payout be sent by hand; from here on it is not handed to the provider."""
    if payout.stage not in _BY_HAND or payout.manual or await store.has_live_attempt(connection, payout.payout_id):
        raise rules.MayBeAtProvider(stage=payout.stage.name)
    await payouts.set_manual(connection, payout, manual=True)
    return await _propose(connection, clock, payout, ProposalKind.MANUAL, Outcome("", 0, 0), order)


async def _propose(
    connection: Connection, clock: Clock, payout: Payout, kind: ProposalKind, outcome: Outcome, order: Order
) -> Proposal:
    owner = await accounts.id_of(connection, payout.account_ref)
    rules.check_not_own(order.operator_id, owner)
    proposal = Proposal(
        new_id(),
        payout.payout_id,
        kind,
        ProposalState.OPEN,
        outcome.proof,
        outcome.sent_micro,
        outcome.fee_micro,
        *order,
        clock.now(),
    )
    try:
        await store.propose(connection, proposal)
    except asyncpg.UniqueViolationError:
        raise rules.ProposalOpen from None
    return proposal


async def decide(
    connection: Connection, clock: Clock, proposal_id: UUID, order: Order, *, approve: bool
) -> tuple[Proposal, Payout]:
    """Agree to a proposal, which takes effect with it, or drop it."""
    seen = await store.find_proposal(connection, proposal_id)
    if seen is None:
        raise requests.ProposalUnknown
    payout = await locked(connection, seen.payout_id)
    proposal = await store.lock_proposal(connection, proposal_id)
    if proposal is None or proposal.state is not ProposalState.OPEN:
        raise rules.ProposalDecided
    now = clock.now()
    if not approve:
        if proposal.kind is ProposalKind.MANUAL:
            await payouts.set_manual(connection, payout, manual=False)
        dropped = await store.decide(connection, proposal, ProposalState.DROPPED, order, now)
        return dropped, await payouts.get(connection, payout.payout_id)
    rules.check_not_own(order.operator_id, await accounts.id_of(connection, payout.account_ref))
    if is_same_person(order.operator_id, proposal.proposed_by):
        raise rules.DeciderIsProposer
    agreed = await store.decide(connection, proposal, ProposalState.APPROVED, order, now)
    return agreed, await _take_effect(connection, clock, payout, agreed, order)


async def _take_effect(
    connection: Connection, clock: Clock, payout: Payout, proposal: Proposal, order: Order
) -> Payout:
    now, actor = clock.now(), _actor(order)
    if proposal.kind is ProposalKind.MANUAL:
        if payout.stage not in _BY_HAND or not payout.manual:
            raise rules.NotSentByHand(stage=payout.stage.name)
        if payout.stage is Stage.QUEUED:
            # It is burned first, by whoever takes payouts on.
            return payout
        also = With("SENT_BY_HAND")
        return await payouts.move(connection, payout, Event.ACCEPT, now, actor=actor, also=also)
    await _check_resolvable(connection, payout, proposal.kind)
    if proposal.kind is ProposalKind.FAILED:
        await store.write_off(connection, payout.payout_id, proposal.proposal_id, now)
        also = With("RESOLVED_FAILED")
        return await payouts.move(connection, payout, Event.FAIL, now, actor=actor, also=also)
    await _check_proof(connection, payout, proposal.proof)
    await store.finish(connection, payout.payout_id, now)
    return await _complete(connection, clock, payout, proposal, actor)


async def record_manual(
    connection: Connection, clock: Clock, proposal_id: UUID, outcome: Outcome, order: Order
) -> Payout:
    """Complete a payout that was sent by hand."""
    seen = await store.find_proposal(connection, proposal_id)
    if seen is None:
        raise requests.ProposalUnknown
    payout = await locked(connection, seen.payout_id)
    proposal = await store.lock_proposal(connection, proposal_id)
    if proposal is None or proposal.kind is not ProposalKind.MANUAL or proposal.state is not ProposalState.APPROVED:
        raise rules.ProposalDecided
    if not payout.manual or payout.stage not in {Stage.PROCESSING, Stage.STALLED}:
        raise rules.NotSentByHand(stage=payout.stage.name)
    rules.check_sent(payout, outcome.sent_micro, outcome.fee_micro, was_sent=True)
    await _check_proof(connection, payout, outcome.proof)
    sent = outcome.sent_micro, outcome.fee_micro
    recorded = await store.record(connection, proposal, outcome.proof, sent, order, clock.now())
    return await _complete(connection, clock, payout, recorded, _actor(order))


async def _check_proof(connection: Connection, payout: Payout, proof: str) -> None:
    """One payment pays one payout: a hash that was pasted twice would leave one of two creators unpaid."""
    await locks.proof(connection, proof)
    if await store.is_proof_of_another(connection, payout.payout_id, proof):
        raise requests.ProofInvalid("This proof is another payout's: one payment pays one payout.", field="proof")


async def _complete(connection: Connection, clock: Clock, payout: Payout, proposal: Proposal, actor: str) -> Payout:
    also = With(
        "SENT_BY_HAND" if payout.manual else "RESOLVED_COMPLETED",
        fee_micro=proposal.fee_micro,
        fee_final=True,
        transaction_hash=proposal.proof,
    )
    return await payouts.move(connection, payout, Event.COMPLETE, clock.now(), actor=actor, also=also)


async def _check_resolvable(connection: Connection, payout: Payout, kind: ProposalKind) -> None:
    """By hand a payout may be processing; else nobody hears of it, and what was never verified was not sent."""
    if payout.manual:
        if kind is ProposalKind.COMPLETED or payout.stage not in {Stage.PROCESSING, Stage.STALLED}:
            raise rules.NotResolvable(stage=payout.stage.name)
        return
    if payout.stage not in {Stage.STALLED, Stage.UNKNOWN}:
        raise rules.NotResolvable(stage=payout.stage.name)
    if kind is ProposalKind.COMPLETED and not await store.has_verified_attempt(connection, payout.payout_id):
        raise rules.NothingWasVerified


def _actor(order: Order) -> str:
    return f"operator:{order.operator_id}"
