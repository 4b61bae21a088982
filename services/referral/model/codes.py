"""Referral codes."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CodeState(StrEnum):
    """active → expired | revoked."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class EndReason(StrEnum):
    """Why a code is no longer active: the first two expired it, the others revoked it."""

    TIME = "time"
    USES = "uses"
    OWNER = "owner"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Code:
    """A referral code; `max_uses` and `expires_at` are None for no limit."""

    code_ref: uuid.UUID
    code: str
    owner_ref: uuid.UUID
    created_at: datetime
    expires_at: datetime | None = None
    max_uses: int | None = None
    uses: int = 0
    state: CodeState = CodeState.ACTIVE
    ended_at: datetime | None = None
    end_reason: EndReason | None = None


@dataclass(frozen=True, slots=True)
class CodeWish:
    """What an owner asks of a new code; `vanity` is None for a random one."""

    vanity: str | None = None
    expires_at: datetime | None = None
    max_uses: int | None = None
