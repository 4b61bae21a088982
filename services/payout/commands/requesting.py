"""A payout is asked for: written down, held at the ledger, recorded, answered."""

from collections.abc import Callable

import asyncpg

from libs.idempotency import M, Once
from libs.postgres import Postgres
from services.payout import metrics
from services.payout.commands.advancing import Advancing
from services.payout.commands.opening import AnsweredBefore, Opening, Wanted
from services.payout.ledger import LedgerRefused
from services.payout.model import Stage
from services.payout.model.payouts import Payout
from services.payout.rules.confirmations import Challenge


class Requesting:
    """From a request to its answer."""

    def __init__(self, postgres: Postgres, opening: Opening, advancing: Advancing) -> None:
        self._postgres = postgres
        self._opening = opening
        self._advancing = advancing

    async def request(self, wanted: Wanted, once: Once[M], told: Callable[[Payout, Challenge | None], M]) -> M:
        """Open one payout; the same request finds the payout that it opened, and finishes what broke off.

        Returns what `told` makes of it and of what its owner is to do; that is kept, with the change that it tells of.
        Where the ledger does not answer the payout stays requested, and the sweeper asks on.
        """
        try:
            payout, challenge = await self._opening.open(wanted)
        except AnsweredBefore:
            async with self._postgres.transaction() as connection:
                return await once.replay_kept(connection)
        answer = None
        if payout.stage is Stage.REQUESTED:
            payout, answer = await self._advancing.hold_soon(payout, lambda held: once.answer(told(held, challenge)))
        check_held(payout)
        metrics.ASKED.labels(payout.stage.name).inc()
        return once.given(answer) if answer else await self._answer(once, told(payout, challenge))

    async def _answer(self, once: Once[M], response: M) -> M:
        """Keep the answer; whoever asked the same at the same time may have been first, and theirs is the answer."""
        async with self._postgres.connection() as connection:
            try:
                return await once.remember(connection, response)
            except asyncpg.UniqueViolationError:
                return await once.replay(connection) or response


def check_held(payout: Payout) -> None:
    """Raise LedgerRefused, as whoever asked first heard it, for a payout whose money the ledger did not hold."""
    if payout.stage is Stage.FAILED and not payout.held:
        raise LedgerRefused.because(payout.reason)
