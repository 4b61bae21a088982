"""What is known of one account."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from services.referral.model.codes import Code
from services.referral.model.registrations import Registration
from services.referral.model.standings import Standing, Tally


@dataclass(frozen=True, slots=True)
class Known:
    """An account as operators look it up; `account_id` is empty once it is erased."""

    account_id: str
    account_ref: uuid.UUID
    registration: Registration | None
    codes: tuple[Code, ...]
    standing: Standing
    tally: Tally
    exempt_until: datetime | None
