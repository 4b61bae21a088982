"""Messages of the API and what they mean inside."""

from collections.abc import Iterable

from libs.timestamps import to_timestamp
from protos.distribution.v1 import distribution_pb2, ledger_pb2
from services.distribution.commands.reading import write_refusal
from services.distribution.model import Answer, Balance, Distribution, Family
from services.distribution.model.earnings import Earnings
from services.distribution.writer.ticket import Outcome


def write_answer(answer: Answer) -> distribution_pb2.FinalizeResponse:
    """Pack a distribution as billing gets it."""
    posted, replayed = answer
    rule_version, outcome, split = posted.decision
    return distribution_pb2.FinalizeResponse(
        distribution_id=posted.distribution_id,
        rule_version=rule_version,
        referrer_micro=split.referrer_micro,
        commons_micro=split.commons_micro,
        community_micro=split.community_micro,
        foundation_micro=split.foundation_micro,
        referrer_outcome=distribution_pb2.ReferrerOutcome.ValueType(outcome),
        replayed=replayed,
    )


def write_result(charge_id: str, outcome: Outcome) -> distribution_pb2.FinalizeResult:
    """Pack what came of one charge among several."""
    if isinstance(outcome, Answer):
        return distribution_pb2.FinalizeResult(inference_charge_id=charge_id, response=write_answer(outcome))
    return distribution_pb2.FinalizeResult(inference_charge_id=charge_id, refusal=write_refusal(outcome))


def write_distribution(found: Distribution) -> distribution_pb2.Distribution:
    """Pack a distribution as the journal has it."""
    return distribution_pb2.Distribution(
        inference_charge_id=found.posted.inference_charge_id,
        answer=write_answer(Answer(found.posted, replayed=False)),
        payer_ref=found.payer_ref,
        referrer_ref=found.referrer_ref or "",
        community_id=found.community_id,
        revenue_micro=found.revenue_micro,
        promotional_micro=found.promotional_micro,
        provider_cost_micro=found.provider_cost_micro,
        model=found.model,
        model_tier=found.model_tier,
        model_breakdown=[
            distribution_pb2.ModelShare(model=part.name, amount_micro=part.amount_micro)
            for part in found.model_breakdown
        ],
        funding=[
            distribution_pb2.Funding(payment_id=part.name, amount_micro=part.amount_micro) for part in found.funding
        ],
        finalized_at=to_timestamp(found.finalized_at),
        recorded_at=to_timestamp(found.recorded_at),
    )


def write_balances(balances: Iterable[Balance]) -> list[ledger_pb2.Balance]:
    """Pack balances."""
    return [ledger_pb2.Balance(account_name=name, balance_micro=balance_micro) for name, balance_micro in balances]


def write_families(families: Iterable[Family]) -> list[ledger_pb2.AccountFamily]:
    """Pack a trial balance's lines."""
    return [
        ledger_pb2.AccountFamily(family=name, accounts=accounts, balance_micro=balance_micro)
        for name, accounts, balance_micro in families
    ]


def write_earnings(found: Earnings) -> ledger_pb2.GetEarningsResponse:
    """Pack the seven buckets."""
    return ledger_pb2.GetEarningsResponse(
        accrued_micro=found.accrued_micro,
        pending_micro=found.pending_micro,
        maturing_micro=found.maturing_micro,
        withdrawable_micro=found.withdrawable_micro,
        frozen_micro=found.frozen_micro,
        held_micro=found.held_micro,
        paid_out_micro=found.paid_out_micro,
        reversed_micro=found.reversed_micro,
        parts=[
            ledger_pb2.EarningsPart(
                bucket=ledger_pb2.EarningsBucket.ValueType(part.bucket),
                amount_micro=part.amount_micro,
                unlocks_at=to_timestamp(part.unlocks_at) if part.unlocks_at else None,
                reason=ledger_pb2.LockReason.ValueType(part.reason),
            )
            for part in found.parts
        ],
        frozen=found.frozen,
        as_of=to_timestamp(found.as_of),
    )
