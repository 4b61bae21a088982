"""Payouts towards the ledger: held when they are asked for, burned when their turn comes, settled when they are over.

What is to happen is written down first, then asked of the ledger by its natural key, and its answer is written down.
Whatever breaks off in between is found by its stage and by what is known of its money, and asked again: the ledger does
it once.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import grpc

from libs.clock import Clock
from libs.idempotency import Answer
from libs.postgres import CONFLICTS, Connection, Postgres, retried
from libs.refusals import Refusal
from libs.rpc import refusal_of
from libs.telemetry import logger
from services.payout import metrics
from services.payout.accounts import Accounts
from services.payout.ledger import Ledger, LedgerRefused
from services.payout.model import Event, Money, Stage
from services.payout.model.payouts import Payout
from services.payout.rules import approvals, quotes
from services.payout.rules.approvals import Terms
from services.payout.screening import Screening
from services.payout.store import accounts as account_store
from services.payout.store import lists, payouts, prices
from services.payout.store.payouts import With

log = logger(__name__)

ACTOR: Final = "job:advancing"
_BATCH: Final = 100
_LEFT_FOR: Final = timedelta(seconds=10)
_PAUSE: Final = timedelta(seconds=30)
_PAUSE_MAX: Final = timedelta(minutes=15)
_CANCELLED: Final = "CANCELLED"

AnswerOf = Callable[[Payout], Answer]


class Held(NamedTuple):
    """A payout after its money was asked for; `answer`: what was kept with that."""

    payout: Payout
    answer: Answer | None


class Advancing:
    """The one way to the ledger. Any number of replicas may advance the same payout."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        ledger: Ledger,
        accounts: Accounts,
        screening: Screening,
        terms: Terms,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._ledger = ledger
        self._accounts = accounts
        self._screening = screening
        self._terms = terms

    async def run(self) -> int:
        """Take everything on whose turn has come; returns how many payouts that were."""
        now = self._clock.now()
        async with self._postgres.connection() as connection:
            orphans = await lists.orphans(connection, now - _LEFT_FOR, _BATCH)
            queued = await lists.due(connection, now, _BATCH, enabled=self._terms.enabled)
            unburned = await payouts.in_stages(connection, [Stage.SUBMITTING], now, _BATCH, money=Money.HELD)
            unsettled = await payouts.unsettled(connection, _BATCH)
        await self._each(unsettled, self.settle)
        await self._each(orphans, self.hold_orphan)
        await self._each(unburned, self._burn)
        await self._each(queued, self.submit)
        return len(unsettled) + len(orphans) + len(unburned) + len(queued)

    async def _each(self, found: Sequence[Payout], step: Callable[[Payout], Awaitable[object]]) -> None:
        """One that does not go on does not keep the others."""
        for payout in found:
            try:
                await step(payout)
            except (Refusal, grpc.aio.AioRpcError) as error:
                reason = error.reason if isinstance(error, Refusal) else refusal_of(error).reason
                metrics.WAITING.labels(step.__name__.strip("_"), reason).inc()
                log.warning("a payout waits", payout_id=str(payout.payout_id), stage=payout.stage.name, reason=reason)

    async def hold_soon(self, payout: Payout, answer_of: AnswerOf | None = None) -> Held:
        """Holds; where the ledger does not answer the payout stays requested, and is asked for again and again."""
        try:
            return await self.hold(payout, answer_of)
        except grpc.aio.AioRpcError as error:
            log.warning("a payout waits for the ledger", payout_id=str(payout.payout_id), code=error.code().name)
            return Held(payout, answer=None)

    async def hold_orphan(self, seen: Payout) -> None:
        """Holds what nobody has held since it was read: a hold that was refused meanwhile is not asked for again."""
        async with self._postgres.connection() as connection:
            payout = await payouts.get(connection, seen.payout_id)
        if payout.revision == seen.revision:
            await self.hold(payout)

    async def hold(self, payout: Payout, answer_of: AnswerOf | None = None) -> Held:
        """Has the ledger set the money of a requested payout aside. Raises LedgerRefused, which ends the payout.

        `answer_of` makes what the request for it is answered, of the payout that is held: it is kept in the statement
        that records this, if nothing happened to the payout meanwhile.
        """
        try:
            await self._ledger.hold(payout)
        except LedgerRefused as refused:
            await self._record_not_held(payout, refused.reason)
            raise
        try:
            # One guarded statement; nearly always nothing else has happened to it meanwhile.
            async with self._postgres.connection() as connection:
                return await self._held(connection, payout, answer_of)
        except CONFLICTS:
            return Held(await self._record_held_late(payout), answer=None)

    async def _held(self, connection: Connection, payout: Payout, answer_of: AnswerOf | None = None) -> Held:
        also, now, event = With(money=Money.HELD, held=True), self._clock.now(), approvals.next_step(payout)
        answer = answer_of(payouts.ahead(payout, event, now, also)) if answer_of else None
        return Held(await payouts.move(connection, payout, event, now, actor=ACTOR, also=also, answer=answer), answer)

    @retried
    async def _record_held_late(self, asked: Payout) -> Payout:
        async with self._postgres.transaction() as connection:
            payout = await _locked(connection, asked)
            if payout.round != asked.round:
                return payout
            if payout.stage is Stage.REQUESTED:
                return (await self._held(connection, payout)).payout
            # Cancelled meanwhile, or refused to somebody else: what was held goes back.
            await payouts.note_money(connection, payout, Money.HELD)
            return await payouts.get(connection, payout.payout_id)

    @retried
    async def _record_not_held(self, asked: Payout, reason: str) -> None:
        async with self._postgres.transaction() as connection:
            payout = await _locked(connection, asked)
            if payout.round != asked.round or payout.money is not Money.ASKED:
                return
            if payout.stage is Stage.REQUESTED:
                also = With(reason, money=Money.CLOSED)
                await payouts.move(connection, payout, Event.HOLD_REFUSED, self._clock.now(), actor=ACTOR, also=also)
            else:
                await payouts.note_money(connection, payout, Money.CLOSED)

    async def submit(self, payout: Payout) -> None:
        """Takes a queued payout's turn: looks again whether anything keeps it, then burns its money."""
        obstacle = await self._obstacle(payout)
        if obstacle:
            await self._cancel(payout, obstacle)
            return
        taken = await self._take_turn(payout)
        if taken is not None:
            await self._burn(taken)

    async def _obstacle(self, payout: Payout) -> str:
        """Why a payout is never to be sent, as far as can be seen now; empty for nothing."""
        async with self._postgres.connection() as connection:
            account_id = await account_store.id_of(connection, payout.account_ref)
        if account_id is None or payout.address is None:
            return "ACCOUNT_ERASED"
        if self._screening.is_blocked(payout.address):
            return "DESTINATION_BLOCKED"
        if await self._accounts.is_suspended(account_id):
            return "SUSPENDED"
        return ""

    @retried
    async def _take_turn(self, seen: Payout) -> Payout | None:
        async with self._postgres.transaction() as connection:
            payout, now = await _locked(connection, seen), self._clock.now()
            if payout.revision != seen.revision or payout.manual is not seen.manual or payout.due_at > now:
                return None
            also = With()
            if payout.quoted_until <= now and not payout.manual:
                price = await prices.find(connection, payout.currency)
                if price is None or not quotes.is_fresh(price, now, self._terms.price_max_age):
                    raise quotes.PriceUnknown(currency=payout.currency)
                fresh = quotes.offer(payout.amount_micro, price, least_micro=1)
                until = now + self._terms.quote
                also = With(fee_micro=fresh.fee_micro, net_amount=fresh.net_amount, quoted_until=until)
            return await payouts.move(connection, payout, Event.SUBMIT, now, actor=ACTOR, also=also)

    async def _burn(self, payout: Payout) -> None:
        try:
            await self._ledger.burn(payout)
        except LedgerRefused as refused:
            await self._put_back(payout, refused.reason)
            raise
        await self._record_burned(payout)

    @retried
    async def _record_burned(self, seen: Payout) -> None:
        async with self._postgres.transaction() as connection:
            payout = await _locked(connection, seen)
            if payout.round != seen.round or payout.stage is not Stage.SUBMITTING:
                return
            await payouts.note_money(connection, payout, Money.BURNED)
            if payout.manual:
                burned = await payouts.get(connection, payout.payout_id)
                now = self._clock.now()
                await payouts.move(connection, burned, Event.ACCEPT, now, actor=ACTOR, also=With("SENT_BY_HAND"))

    @retried
    async def _put_back(self, seen: Payout, reason: str) -> None:
        """The ledger does not burn it now: it waits for its turn again, ever longer."""
        async with self._postgres.transaction() as connection:
            payout, now = await _locked(connection, seen), self._clock.now()
            if payout.revision != seen.revision or payout.money is not Money.HELD:
                return
            pause = min(_PAUSE * 2 ** min(payout.tries, 10), _PAUSE_MAX)
            also = With(reason[:64], due_at=now + pause, tries=payout.tries + 1)
            await payouts.move(connection, payout, Event.PUT_BACK, now, actor=ACTOR, also=also)

    @retried
    async def _cancel(self, seen: Payout, reason: str) -> None:
        async with self._postgres.transaction() as connection:
            payout = await _locked(connection, seen)
            if payout.revision == seen.revision:
                also = With(reason)
                await payouts.move(connection, payout, Event.CANCEL, self._clock.now(), actor=ACTOR, also=also)

    async def settle(self, payout: Payout) -> None:
        """Tells the ledger how a final payout ended, once and for ever."""
        if payout.stage is Stage.COMPLETED:
            await self._ledger.complete(payout)
        elif payout.money is Money.BURNED:
            await self._ledger.give_back_burned(payout, payout.reason or _CANCELLED)
        elif payout.money is Money.HELD or await self._was_held(payout):
            await self._ledger.give_back_held(payout, payout.reason or _CANCELLED)
        await self._record_settled(payout)

    async def _was_held(self, payout: Payout) -> bool:
        """Whether the ledger held what was cancelled while that was being asked.

        It is asked again, so that a question still on its way finds it answered: held, and soon given back.
        """
        try:
            await self._ledger.hold(payout)
        except LedgerRefused:
            return False
        return True

    @retried
    async def _record_settled(self, payout: Payout) -> None:
        async with self._postgres.transaction() as connection:
            if await payouts.note_money(connection, payout, Money.CLOSED):
                metrics.SETTLED.labels(payout.stage.name).inc()

    async def settle_now(self, payout: Payout) -> None:
        """Settles at once where the ledger answers; the sweeper does it otherwise."""
        if payout.money is not Money.CLOSED and payout.stage >= Stage.COMPLETED:
            await self._each([payout], self.settle)


async def _locked(connection: Connection, seen: Payout) -> Payout:
    payout = await payouts.lock(connection, seen.payout_id)
    if payout is None:
        raise AssertionError("payouts are never deleted")
    return payout
