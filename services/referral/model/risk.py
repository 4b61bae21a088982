"""Risk: signals, weights, scores."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Signal(StrEnum):
    """What a score is made of; lists per signal are in this order."""

    IP_CLUSTER = "IP_CLUSTER"
    FINGERPRINT = "FINGERPRINT"
    VELOCITY = "VELOCITY"
    NO_PAID_ACTIVITY = "NO_PAID_ACTIVITY"


_OF_THE_NETWORK: Final = frozenset({Signal.IP_CLUSTER, Signal.VELOCITY})


class SignalKind(StrEnum):
    """What is hashed of a request."""

    IP = "ip"
    PREFIX = "prefix"
    USER_AGENT = "user_agent"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True)
class Client:
    """What a request looked like, as the gateway saw it; empty where it could not be seen. Never stored."""

    ip_address: str = ""
    user_agent: str = ""
    fingerprint: str = ""


UNSEEN: Final = Client()
"""A request of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of hashes; its id is stored beside them."""

    key_id: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Hash:
    """One keyed hash."""

    kind: SignalKind
    key_id: str
    hash: bytes


class Stage(StrEnum):
    """When a registration is scored: as it is made, when its first week is over, when its bonus's hold is."""

    REGISTRATION = "registration"
    WEEK = "week"
    HOLD = "hold"


class WeightsState(StrEnum):
    """shadow → active → retired; or shadow → retired, displaced by newer proposals."""

    SHADOW = "shadow"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Weight:
    """Points of one signal: min(cap, cap * observed / divisor), of which `factor_bps` is used."""

    cap: int
    divisor: int
    factor_bps: int


@dataclass(frozen=True, slots=True)
class Weights:
    """A version of the weights, one weight per signal in their order."""

    version: int
    state: WeightsState
    weights: tuple[Weight, ...]
    flagged_from: int
    urgent_from: int
    proposed_by: str
    reason: str
    proposed_at: datetime
    activated_by: str = ""
    activated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its parts, one per signal in their order."""

    version: int
    score: int
    observed: tuple[int, ...]
    points: tuple[int, ...]
    flagged: bool
    urgent: bool

    @property
    def beyond_network(self) -> bool:
        """Whether something adds to it beside the network that the sign-up came from."""
        return any(part for signal, part in zip(Signal, self.points, strict=True) if signal not in _OF_THE_NETWORK)


class RiskVerdict(StrEnum):
    """What a reviewer found of a registration."""

    CLEARED = "cleared"
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is held against a registration; `exempt` where its score counts for nothing at present."""

    referee_ref: uuid.UUID
    referrer_ref: uuid.UUID
    score: Score
    verdict: RiskVerdict | None
    exempt: bool

    @property
    def flagged(self) -> bool:
        """Whether its score wants a reviewer who has not looked yet."""
        return self.score.flagged and self.verdict is None and not self.exempt


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow version would have done, beside what was done."""

    scored: int
    flagged_by_both: int
    flagged_by_active_only: int
    flagged_by_shadow_only: int
    shadow_only_cleared: int
    withheld_micro: int


class AddressKind(StrEnum):
    """What accounts may share."""

    WALLET = "wallet"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class AccountAddress:
    """An account has, or had, an address; `shared_with` are other accounts that its teller knows to have it."""

    account_ref: uuid.UUID
    kind: AddressKind
    address_ref: uuid.UUID
    active: bool
    changed_at: datetime
    shared_with: tuple[uuid.UUID, ...] = ()
