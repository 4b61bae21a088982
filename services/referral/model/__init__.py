"""What referral speaks of."""

from services.referral.model.codes import (
    Code,
    CodeState,
    CodeWish,
    EndReason,
)
from services.referral.model.registrations import (
    Attempt,
    Attribution,
    Facts,
    Funnel,
    Kind,
    Limits,
    Outcome,
    Registered,
    Registration,
    SignUp,
)
from services.referral.model.standings import (
    Standing,
    StandingRecord,
)

__all__ = [
    "Attempt",
    "Attribution",
    "Code",
    "CodeState",
    "CodeWish",
    "EndReason",
    "Facts",
    "Funnel",
    "Kind",
    "Limits",
    "Outcome",
    "Registered",
    "Registration",
    "SignUp",
    "Standing",
    "StandingRecord",
]
