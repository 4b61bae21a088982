"""Messages of the API and what they mean inside."""

from libs.timestamps import to_timestamp
from protos.referral.v1 import referral_pb2
from services.referral.model import Code


def write_code(code: Code) -> referral_pb2.ReferralCode:
    """Pack a code."""
    return referral_pb2.ReferralCode(
        code=code.code,
        state=referral_pb2.CodeState.Value(f"CODE_STATE_{code.state.name}"),
        uses=code.uses,
        max_uses=code.max_uses or 0,
        created_at=to_timestamp(code.created_at),
        expires_at=to_timestamp(code.expires_at) if code.expires_at else None,
    )
