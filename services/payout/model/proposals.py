"""What needs two operators."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID


class ProposalKind(IntEnum):
    """What is proposed."""

    COMPLETED = 1
    FAILED = 2
    MANUAL = 3


class ProposalState(IntEnum):
    """open → approved → recorded (by hand only); open → dropped."""

    OPEN = 1
    APPROVED = 2
    RECORDED = 3
    DROPPED = 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """Amounts in micro-USD."""

    proposal_id: UUID
    payout_id: UUID
    kind: ProposalKind
    state: ProposalState
    proof: str
    sent_micro: int
    fee_micro: int
    proposed_by: str
    reason: str
    proposed_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One operator's yes to a payout."""

    payout_id: UUID
    operator_id: str
    reason: str
    approved_at: datetime
