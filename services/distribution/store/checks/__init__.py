"""Every invariant of the books as a query for what breaks it. All read one snapshot, after `balances.PREPARE`."""

from typing import Final

from services.distribution.model.audit import Check
from services.distribution.store.checks import (
    balances,
    campaigns,
    charges,
    earnings,
    events,
    payouts,
    snapshots,
    transfers,
)

ALL: Final[tuple[Check, ...]] = (
    *charges.CHECKS,
    *transfers.CHECKS,
    *balances.CHECKS,
    *snapshots.CHECKS,
    *earnings.CHECKS,
    *payouts.CHECKS,
    *campaigns.CHECKS,
    *events.CHECKS,
)
PREPARE: Final = balances.PREPARE
COUNT: Final = balances.COUNT
TOLD: Final = events.TOLD
