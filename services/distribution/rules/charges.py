"""What a charge must be, and when it is the same again."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

from libs.money import MAX_MICRO
from services.distribution.model import Answer, Charge, Part, Posted
from services.distribution.rules.refusals import (
    BatchSizeInvalid,
    BreakdownInvalid,
    BreakdownTooLong,
    BreakdownUnbalanced,
    ChargeIdInvalid,
    ChargeMismatch,
    CommunityInvalid,
    FinalizedInFuture,
    FundingInvalid,
    FundingTooLong,
    FundingUnbalanced,
    ModelInvalid,
    ModelMissing,
    ModelTierInvalid,
    PayerInvalid,
    PromotionalOutOfRange,
    ProviderCostOutOfRange,
    RevenueOutOfRange,
)
from services.distribution.rules.texts import MAX_ID, is_id, is_label

MAX_TIER = 64
MAX_PARTS = 32
MAX_CHARGES = 500
MAX_AHEAD = timedelta(minutes=5)

_COMMUNITY = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_charge(charge: Charge, now: datetime) -> None:
    """Raise the refusal of the first thing that is wrong with a charge."""
    _check_names(charge)
    _check_amounts(charge)
    if charge.model_breakdown:
        _check_breakdown(charge.model_breakdown, charge.revenue_micro)
    if charge.funding:
        _check_funding(charge.funding, charge.paid_micro)
    if charge.finalized_at > now + MAX_AHEAD:
        raise FinalizedInFuture(field="finalized_at")


def _check_names(charge: Charge) -> None:
    if not is_id(charge.inference_charge_id):
        raise ChargeIdInvalid(field="inference_charge_id")
    if not is_id(charge.payer_account_id):
        raise PayerInvalid(field="payer_account_id")
    if not _COMMUNITY.fullmatch(charge.community_id):
        raise CommunityInvalid(field="community_id")
    if not charge.model and not charge.model_breakdown:
        raise ModelMissing(field="model")
    if not is_label(charge.model, MAX_ID):
        raise ModelInvalid(field="model")
    if not is_label(charge.model_tier, MAX_TIER):
        raise ModelTierInvalid(field="model_tier")


def _check_amounts(charge: Charge) -> None:
    if not 1 <= charge.revenue_micro <= MAX_MICRO:
        raise RevenueOutOfRange(field="revenue_micro")
    if not 0 <= charge.promotional_micro <= charge.revenue_micro:
        raise PromotionalOutOfRange(field="promotional_micro")
    if not 0 <= charge.provider_cost_micro <= MAX_MICRO:
        raise ProviderCostOutOfRange(field="provider_cost_micro")


def _check_breakdown(parts: Sequence[Part], revenue_micro: int) -> None:
    if len(parts) > MAX_PARTS:
        raise BreakdownTooLong(field="model_breakdown", limit=MAX_PARTS)
    for index, part in enumerate(parts):
        if not part.name or not is_label(part.name, MAX_ID):
            raise BreakdownInvalid(field=f"model_breakdown[{index}].model")
        if not 0 <= part.amount_micro <= MAX_MICRO:
            raise BreakdownInvalid(field=f"model_breakdown[{index}].amount_micro")
    if sum(part.amount_micro for part in parts) != revenue_micro:
        raise BreakdownUnbalanced(field="model_breakdown")


def _check_funding(parts: Sequence[Part], paid_micro: int) -> None:
    if len(parts) > MAX_PARTS:
        raise FundingTooLong(field="funding", limit=MAX_PARTS)
    named: set[str] = set()
    for index, part in enumerate(parts):
        if not is_id(part.name) or part.name in named:
            raise FundingInvalid(field=f"funding[{index}].payment_id")
        if not 1 <= part.amount_micro <= MAX_MICRO:
            raise FundingInvalid(field=f"funding[{index}].amount_micro")
        named.add(part.name)
    if sum(part.amount_micro for part in parts) != paid_micro:
        raise FundingUnbalanced(field="funding")


def fingerprint(charge: Charge, key: bytes) -> bytes:
    """Hash all that was asked, keyed so that it gives away neither ids nor amounts.

    Stored with the charge for ever, so the spelling below never changes: a later field is added only where it is set.
    No checked text holds a NUL, so that no two charges are spelled alike.
    """
    text = "\0".join(
        (
            charge.inference_charge_id,
            charge.payer_account_id,
            charge.community_id,
            f"{charge.revenue_micro} {charge.promotional_micro} {charge.provider_cost_micro}",
            charge.model,
            charge.model_tier,
            charge.finalized_at.isoformat(timespec="microseconds"),
        )
    )
    for tag, parts in (("m", charge.model_breakdown), ("f", charge.funding)):
        for part in parts:
            text += f"\0{tag}{part.amount_micro} {part.name}"
    return blake2b(text.encode(), digest_size=16, key=key).digest()


def replay(posted: Posted, fingerprint: bytes) -> Answer | ChargeMismatch:
    """Return the first answer again, or the refusal where what is asked now is another charge of the same id."""
    if posted.fingerprint != fingerprint:
        return ChargeMismatch(field="inference_charge_id")
    return Answer(posted, replayed=True)


def check_batch_size(charges: int) -> None:
    """Raise the refusal of a batch that is empty or too large."""
    if not 1 <= charges <= MAX_CHARGES:
        raise BatchSizeInvalid(field="charges", limit=MAX_CHARGES)
