"""Documents for partners: the loa-hounfour 8.x wire types, made from what the journal says."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from libs.money import BPS, largest_remainder
from services.distribution.model import ReferrerOutcome, community_account
from services.distribution.model.documents import Billed, Credited, Escrowed, Happened, PaidOut
from services.distribution.model.holds import HoldState
from services.distribution.model.ledger import TransferKind

CONTRACT_VERSION: Final = "8.7.0"
ESCROW_ALARM: Final = timedelta(hours=72)
MARKUP_BPS: Final = 20_000
MULTIPLIER_MAX_BPS: Final = 100_000

Document = dict[str, Any]

_EVENTS: Final[Mapping[int, tuple[str, str]]] = {
    TransferKind.FINALIZE: ("billing", "billing.entry.created"),
    TransferKind.SETTLE: ("economy", "economy.earning.settled"),
    TransferKind.CLAWBACK: ("billing", "billing.credit_note.issued"),
    TransferKind.FORFEIT: ("economy", "economy.earning.forfeited"),
    TransferKind.HOLD: ("economy", "economy.escrow.held"),
    TransferKind.RETURN: ("economy", "economy.escrow.refunded"),
    TransferKind.BURN: ("economy", "economy.payout.submitted"),
    TransferKind.PAYOUT_COMPLETED: ("economy", "economy.payout.completed"),
    TransferKind.PAYOUT_FAILED: ("economy", "economy.payout.failed"),
    TransferKind.RESERVE_TOP_UP: ("economy", "economy.reserve.topped_up"),
    TransferKind.RESERVE_WITHDRAWAL: ("economy", "economy.reserve.withdrawn"),
    TransferKind.CAMPAIGN_FUNDING: ("economy", "economy.campaign.funded"),
    TransferKind.BUDGET: ("economy", "economy.budget.moved"),
    TransferKind.GRANT: ("economy", "economy.credit.granted"),
    TransferKind.SPEND: ("economy", "economy.credit.spent"),
    TransferKind.SCORE_FUNDING: ("economy", "economy.score_pool.funded"),
}
KIND_OF_EVENT: Final[Mapping[str, int]] = {name: kind for kind, (_, name) in _EVENTS.items()}


def moment(instant: datetime) -> str:
    """Spell an instant as RFC 3339."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def billing_entry(billed: Billed) -> Document:
    """Build the BillingEntry of one distribution: what was split is its total."""
    split = billed.split
    total = split.referrer_micro + split.commons_micro + split.community_micro + split.foundation_micro
    raw, multiplier = _priced(billed.provider_cost_micro, total)
    rows = [
        ("commons", "commons", "commons", split.commons_micro),
        (community_account(billed.community_id), "agent_performer", "community", split.community_micro),
        ("foundation", "platform", "foundation", split.foundation_micro),
    ]
    attributed = billed.outcome is ReferrerOutcome.ATTRIBUTED
    if attributed:
        rows.insert(0, (f"creator:{billed.referrer_ref}", "producer", "referrer", split.referrer_micro))
    shares = _share_bps(billed, attributed=attributed)
    document = {
        "id": billed.distribution_id,
        "trace_id": billed.distribution_id,
        "tenant_id": billed.community_id,
        "cost_type": "model_inference",
        "provider": "creator-economy",
        "currency": "USD",
        "precision": 6,
        "raw_cost_micro": str(raw),
        "multiplier_bps": multiplier,
        "total_cost_micro": str(total),
        "rounding_policy": "largest_remainder",
        "recipients": [
            {"address": address, "role": role, "share_bps": shares[real], "amount_micro": str(amount)}
            for address, role, real, amount in rows
        ],
        "idempotency_key": billed.inference_charge_id,
        "timestamp": moment(billed.finalized_at),
        "contract_version": CONTRACT_VERSION,
        "metadata": {
            "x-roles": {address: real for address, _, real, _ in rows},
            "x-provider-cost-micro": str(billed.provider_cost_micro),
            "x-model-tier": billed.model_tier,
        },
    }
    return document | ({"model": billed.model} if billed.model else {})


def _priced(cost: int, total: int) -> tuple[int, int]:
    """Find raw cost and multiplier whose product, rounded down, is the total to the micro.

    The provider's cost where one makes it exactly; else half of it, at the usual markup; else the total itself.
    """
    if cost:
        multiplier = -(-total * BPS // cost)
        if BPS <= multiplier <= MULTIPLIER_MAX_BPS and cost * multiplier // BPS == total:
            return cost, multiplier
    return (total // 2, MARKUP_BPS) if total % 2 == 0 else (total, BPS)


def _share_bps(billed: Billed, *, attributed: bool) -> dict[str, int]:
    referrer, rates = billed.rates.referrer_bps if attributed else 0, billed.rates
    weights = {
        "commons": (BPS - referrer) * rates.commons_bps,
        "community": (BPS - referrer) * rates.community_bps,
        "foundation": (BPS - referrer) * rates.foundation_bps,
    }
    return largest_remainder(BPS, weights | ({"referrer": referrer * BPS} if attributed else {}))


def refund_note(credited: Credited) -> Document:
    """Build the CreditNote of one clawback. What a creator had settled already the platform gives back."""
    amounts = {
        f"creator:{credited.referrer_ref}": ("producer", credited.clawed_back_micro),
        "commons": ("commons", credited.commons_micro),
        community_account(credited.community_id): ("agent_performer", credited.community_micro),
        "foundation": ("platform", credited.foundation_micro + credited.loss_micro),
    }
    kept = {address: each for address, each in amounts.items() if each[1]}
    shares = largest_remainder(BPS, {address: max(amount, 0) for address, (_, amount) in kept.items()})
    return {
        "id": credited.credit_note_id,
        "references_billing_entry": credited.distribution_id,
        "reason": "refund",
        "amount_micro": str(sum(amount for _, amount in kept.values())),
        "recipients": [
            {"address": address, "role": role, "share_bps": shares[address], "amount_micro": str(amount)}
            for address, (role, amount) in kept.items()
        ],
        "issued_at": moment(credited.recorded_at),
        "contract_version": CONTRACT_VERSION,
    }


def payout_note(paid: PaidOut) -> Document:
    """Build the CreditNote of one payout: below zero, since it takes from the creator and gives the payer nothing."""
    amount = str(-paid.amount_micro)
    return {
        "id": paid.payout_id,
        "references_billing_entry": paid.distribution_id,
        "reason": "adjustment",
        "amount_micro": amount,
        "recipients": [
            {"address": f"creator:{paid.creator_ref}", "role": "producer", "share_bps": BPS, "amount_micro": amount}
        ],
        "issued_at": moment(paid.completed_at),
        "contract_version": CONTRACT_VERSION,
    }


def escrow_entry(escrowed: Escrowed) -> Document:
    """Build the EscrowEntry of one hold. Its expiry is an alarm; it releases nothing."""
    document = {
        "escrow_id": escrowed.escrow_id,
        "payer_id": "treasury:payout_reserve",
        "payee_id": f"creator:{escrowed.creator_ref}",
        "amount_micro": str(escrowed.amount_micro),
        "state": "held",
        "held_at": moment(escrowed.held_at),
        "expires_at": moment(escrowed.held_at + ESCROW_ALARM),
        "contract_version": CONTRACT_VERSION,
    }
    match HoldState(escrowed.state):
        case HoldState.COMPLETED:
            released_at = max(escrowed.changed_at, escrowed.held_at)
            return document | {"state": "released", "released_at": moment(released_at)}
        case HoldState.RETURNED | HoldState.FAILED:
            dispute_id = uuid5(NAMESPACE_URL, f"dispute/{escrowed.escrow_id}")
            return document | {"state": "refunded", "dispute_id": str(dispute_id)}
        case _:
            return document


def domain_event(happened: Happened) -> Document:
    """Build the DomainEvent of one distribution or transfer."""
    aggregate_type, name = _EVENTS[happened.kind]
    own = happened.kind in {TransferKind.FINALIZE, TransferKind.CLAWBACK}
    return {
        "event_id": happened.event_id,
        "aggregate_id": happened.event_id if own else happened.cause_id,
        "aggregate_type": aggregate_type,
        "type": name,
        "version": 1,
        "occurred_at": moment(happened.recorded_at),
        "actor": "distribution",
        "payload": {"cause_id": happened.cause_id, "amount_micro": str(happened.amount_micro)},
        "contract_version": CONTRACT_VERSION,
    }
