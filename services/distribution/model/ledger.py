"""Nouns of the ledger: transfers, and what account names mean."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from services.distribution.model import AccountKind

CLAWBACK_LOSS: Final = "platform:clawback_loss"
FORFEITED: Final = "platform:forfeited"
PROMOTIONAL_SPEND: Final = "platform:promotional_spend"
MARKETING: Final = "platform:marketing"
PAID_OUT: Final = "platform:paid_out"
IN_FLIGHT: Final = "provider:in_flight"
SENT: Final = "provider:sent"
PROVIDER_FEES: Final = "provider:fees"
SCORE_REWARDS: Final = "foundation:score_rewards"


class TransferKind(IntEnum):
    """What a transfer is about; numbered as in the API and in the books. FINALIZE is never a row of `transfers`."""

    FINALIZE = 1
    SETTLE = 2
    CLAWBACK = 3
    FORFEIT = 4
    HOLD = 5
    RETURN = 6
    BURN = 7
    PAYOUT_COMPLETED = 8
    PAYOUT_FAILED = 9
    RESERVE_TOP_UP = 10
    RESERVE_WITHDRAWAL = 11
    CAMPAIGN_FUNDING = 12
    BUDGET = 13
    GRANT = 14
    SPEND = 15
    SCORE_FUNDING = 16


_KINDS: Final[Mapping[str, AccountKind]] = MappingProxyType(
    {
        "platform:receipts": AccountKind.RECEIPTS,
        "commons": AccountKind.COMMONS,
        "foundation": AccountKind.FOUNDATION,
        "treasury:operating": AccountKind.OPERATING,
        "treasury:payout_reserve": AccountKind.PAYOUT_RESERVE,
        CLAWBACK_LOSS: AccountKind.CLAWBACK_LOSS,
        FORFEITED: AccountKind.FORFEITED,
        PROMOTIONAL_SPEND: AccountKind.PROMOTIONAL_SPEND,
        MARKETING: AccountKind.MARKETING,
        PAID_OUT: AccountKind.PAID_OUT,
        IN_FLIGHT: AccountKind.IN_FLIGHT,
        SENT: AccountKind.SENT,
        PROVIDER_FEES: AccountKind.PROVIDER_FEES,
        SCORE_REWARDS: AccountKind.SCORE_REWARDS,
    }
)
_PARTS: Final[Mapping[tuple[str, str], AccountKind]] = MappingProxyType(
    {
        ("creator", "pending"): AccountKind.CREATOR_PENDING,
        ("creator", "settled"): AccountKind.CREATOR_SETTLED,
        ("creator", "held"): AccountKind.CREATOR_HELD,
        ("campaign", "available"): AccountKind.CAMPAIGN_AVAILABLE,
        ("campaign", "reserved"): AccountKind.CAMPAIGN_RESERVED,
    }
)


def kind_of(name: str) -> AccountKind:
    """The kind of account that a name names; raises ValueError for a name that means nothing."""
    if name in _KINDS:
        return _KINDS[name]
    family, _, rest = name.partition(":")
    owner, _, part = rest.partition(":")
    if family == "community" and rest:
        return AccountKind.COMMUNITY
    if family == "credits" and owner and part:
        return AccountKind.CREDITS
    if owner and (family, part) in _PARTS:
        return _PARTS[family, part]
    raise ValueError(f"{name!r} names no account")


def campaign_account(campaign_id: str, part: str) -> str:
    """Name of a campaign's available or reserved budget."""
    return f"campaign:{campaign_id}:{part}"


def credits_account(account_ref: str, pool: str) -> str:
    """Name of what an account may spend from one pool."""
    return f"credits:{account_ref}:{pool}"
