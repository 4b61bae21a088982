"""The score pool's funding: a part of what the foundation earned in a period, once per period."""

from typing import NamedTuple

from libs.clock import Clock
from libs.periods import Period, check_over
from libs.postgres import Postgres, retried
from services.distribution.commands import posting
from services.distribution.model import FOUNDATION
from services.distribution.model.campaigns import Order, ScorePoolFunding
from services.distribution.model.ledger import SCORE_REWARDS, TransferKind
from services.distribution.rules import score_pool as rules
from services.distribution.store import score_pool as store


class Funded(NamedTuple):
    """A period's funding, what the pool holds, and whether an earlier call did it."""

    funding: ScorePoolFunding
    available_micro: int
    replayed: bool


@retried
async def fund(postgres: Postgres, clock: Clock, period: Period, order: Order, *, funding_bps: int) -> Funded:
    """Move its part of a period's net foundation revenue into the pool. Raises PeriodNotOver, PeriodOverlaps.

    Net is the foundation's shares of the charges finalized in the period, less what refunds recorded in the period took
    back from it: so every refund counts once, in the period of its booking. A charge of the period that comes after its
    funding no longer adds to it.
    """
    async with postgres.transaction() as connection:
        await store.lock_fundings(connection)
        # The groups that are posting at this moment are waited for.
        balances = await posting.lock(connection, [FOUNDATION, SCORE_REWARDS])
        if earlier := await store.find(connection, period):
            return Funded(earlier, balances[SCORE_REWARDS], replayed=True)
        now = clock.now()
        check_over(period, now)
        net_micro = await store.shares_micro(connection, period) - await store.reversals_micro(connection, period)
        funded_micro = rules.funding(net_micro, funding_bps, balances[FOUNDATION])
        transfer_id = None
        if funded_micro:
            legs = {FOUNDATION: -funded_micro, SCORE_REWARDS: funded_micro}
            transfer_id = str(await posting.post(connection, TransferKind.SCORE_FUNDING, period.name, legs, now=now))
        funding = await store.insert(
            connection,
            period,
            net_foundation_micro=net_micro,
            funding_bps=funding_bps,
            funded_micro=funded_micro,
            transfer_id=transfer_id,
            order=order,
            now=now,
        )
        return Funded(funding, balances[SCORE_REWARDS] + funded_micro, replayed=False)
