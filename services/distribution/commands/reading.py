"""Charges as billing sends them, by whichever way they come, and why one is refused."""

from libs.refusals import Refusal
from libs.rpc.errors import as_refusal
from libs.timestamps import to_datetime
from protos.distribution.v1 import distribution_pb2
from services.distribution.commands.finalize import Unread
from services.distribution.model import Charge, Part
from services.distribution.rules import refusals


def read_charge(request: distribution_pb2.FinalizeRequest) -> Charge | Unread:
    """Unpack a charge; nothing in it is checked yet but that its time is one."""
    if not request.HasField("finalized_at"):
        return Unread(request.inference_charge_id, refusals.FinalizedAtMissing(field="finalized_at"))
    try:
        finalized_at = to_datetime(request.finalized_at, field="finalized_at")
    except Refusal as refusal:
        return Unread(request.inference_charge_id, refusal)
    # Most charges have neither: what is there is looked at before anything is made of it.
    breakdown, funding = request.model_breakdown, request.funding
    return Charge(
        request.inference_charge_id,
        request.payer_account_id,
        request.community_id,
        request.revenue_micro,
        request.promotional_micro,
        request.provider_cost_micro,
        request.model,
        request.model_tier,
        tuple([Part(each.model, each.amount_micro) for each in breakdown]) if breakdown else (),
        tuple([Part(each.payment_id, each.amount_micro) for each in funding]) if funding else (),
        finalized_at,
    )


def write_refusal(error: Exception) -> distribution_pb2.Refusal:
    """Pack why a charge is refused."""
    refusal = as_refusal(error)
    return distribution_pb2.Refusal(
        code=refusal.code, reason=refusal.reason, message=refusal.message, data=refusal.data
    )
