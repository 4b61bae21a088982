"""Payouts are handed to the provider: each step is written down, then done, then its answer is written down.

Whatever breaks off between the two is taken up by looking: an attempt that may have landed is searched for, then asked
for again under the same id; a batch that may have been verified is looked up. One batch fits into 30 seconds, because
a code of the second factor is good for one.
"""

from datetime import timedelta
from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres, is_fault
from libs.telemetry import logger
from services.payout import metrics
from services.payout.commands import attempts
from services.payout.model import Money, Stage
from services.payout.model.payouts import Payout
from services.payout.model.submissions import Attempt, AttemptState
from services.payout.provider.client import Client, Wanted
from services.payout.provider.rows import Row, Standing
from services.payout.provider.totp import step_of
from services.payout.provider.trouble import AlreadyThere, NotNow, NotThere, Refused, Trouble, Unknown
from services.payout.rules import submissions as rules
from services.payout.store import halts, payouts, submissions

log = logger(__name__)

BATCH: Final = 50
MAY_PASS: Final = frozenset({"INSUFFICIENT_BALANCE", "BELOW_PROVIDER_MINIMUM", "NOT_WHITELISTED"})
"""Refusals of the payout that may pass; other trouble of this kind is the way to the provider."""


class Handover:
    """The one way to the provider. `enabled` is PAYOUTS_ENABLED; what is under way is followed up all the same."""

    def __init__(self, postgres: Postgres, clock: Clock, client: Client, *, fee_paid_by: str, enabled: bool) -> None:
        self._postgres = postgres
        self._clock = clock
        self._client = client
        self._fee_paid_by = fee_paid_by
        self._enabled = enabled

    async def run(self) -> None:
        """Follows up what is due, takes up what was refused, and hands over what fits into this half minute.

        An attempt that cannot be followed up, whatever the provider says of it, keeps none of the others; its error is
        raised in the end.
        """
        errors: list[Exception] = []
        for attempt in await self._due():
            try:
                await self._advance(attempt)
            except Exception as error:
                if is_fault(error):
                    raise
                errors.append(error)
                await attempts.postpone(self._postgres, self._clock, attempt.unique_external_id)
        for payout in await self._in_stage(Stage.REJECTED, BATCH):
            await attempts.try_again(self._postgres, self._clock, payout.payout_id)
        await self._hand_over()
        if errors:
            raise ExceptionGroup("attempts that did not go on", errors)

    async def _due(self) -> list[Attempt]:
        async with self._postgres.connection() as connection:
            return await submissions.due(connection, self._clock.now(), BATCH)

    async def _in_stage(self, stage: Stage, limit: int) -> list[Payout]:
        async with self._postgres.connection() as connection:
            return await payouts.in_stages(connection, [stage], self._clock.now(), limit, money=Money.BURNED)

    async def _hand_over(self) -> None:
        """Makes and verifies one batch, where a code is left for it and nothing keeps it."""
        if not self._enabled or not await self._has_turn():
            return
        for payout in await self._in_stage(Stage.SUBMITTING, BATCH):
            attempt = await attempts.prepare(self._postgres, self._clock, payout.payout_id, self._fee_paid_by)
            if attempt is not None:
                await self._advance(attempt)
                return

    async def _has_turn(self) -> bool:
        async with self._postgres.connection() as connection:
            halted = await halts.read(connection)
            metrics.HALTED.set(bool(halted))
            return not halted and await submissions.is_step_free(connection, step_of(self._clock.now()))

    async def _advance(self, attempt: Attempt) -> None:
        """One attempt a step further."""
        if attempt.state is AttemptState.PREPARED and attempt.checked_at is None:
            await self._make(attempt, first=True)
        elif attempt.state is AttemptState.PREPARED:
            await self._search(attempt)
        else:
            await self._follow(attempt)

    async def _make(self, attempt: Attempt, *, first: bool) -> None:
        """Asks for a batch; `first`: no earlier call of this attempt can have landed."""
        wanted, halted = await self._wanted(attempt)
        if wanted is None or halted or not self._enabled:
            await attempts.postpone(self._postgres, self._clock, attempt.unique_external_id)
            return
        begun = await attempts.begin(self._postgres, self._clock, attempt)
        if begun is None:
            return
        try:
            row = await self._client.create(wanted)
        except (AlreadyThere, Unknown):
            await attempts.lost(self._postgres, self._clock, begun)
        except Refused as trouble:
            # After a call that may have landed, a refusal of another one says nothing about it.
            await (self._refused(begun, trouble) if first else attempts.lost(self._postgres, self._clock, begun))
        else:
            await self._made(begun, row)

    async def _wanted(self, attempt: Attempt) -> tuple[Wanted | None, str]:
        async with self._postgres.connection() as connection:
            payout, halted = await payouts.get(connection, attempt.payout_id), await halts.read(connection)
        if payout.address is None:
            return None, halted
        return (
            Wanted(attempt.unique_external_id, payout.address, payout.memo or "", payout.currency, attempt.amount),
            halted,
        )

    async def _refused(self, attempt: Attempt, trouble: Refused) -> None:
        if isinstance(trouble, NotNow) and trouble.code not in MAY_PASS:
            await attempts.not_done(self._postgres, self._clock, attempt, trouble.wait_seconds)
            return
        may_pass = isinstance(trouble, NotNow)
        await attempts.refused(self._postgres, self._clock, attempt, trouble.code, may_pass=may_pass)

    async def _made(self, attempt: Attempt, row: Row) -> None:
        """The batch is known: that is written down before it is verified."""
        known = await self._apply(attempt, row)
        if row.was_verified:
            # An account without a second factor pays whatever is created.
            await self._halt("SECOND_FACTOR_IS_OFF")
            return
        if known is not None and known.state is AttemptState.CREATED:
            await self._verify(known)

    async def _search(self, attempt: Attempt) -> None:
        """Whether an attempt of unknown fate landed; where it is not found it is asked for again under the same id."""
        try:
            found = await self._client.find(attempt.unique_external_id, attempt.prepared_at - rules.SEARCH_BEFORE)
            if found is None:
                await self._make(attempt, first=False)
                return
            row = await self._row(found.batch_id, attempt)
        except Trouble as trouble:
            log.warning("search failed", code=trouble.code, payout_id=str(attempt.payout_id))
            row = None
        if row is None:
            await attempts.lost(self._postgres, self._clock, attempt)
            return
        await self._apply(attempt, row)

    async def _follow(self, attempt: Attempt) -> None:
        """Looks a batch up, and verifies it where that is still to be done."""
        try:
            row = await self._row(attempt.batch_id, attempt)
        except Trouble as trouble:
            log.warning("look-up failed", code=trouble.code, payout_id=str(attempt.payout_id))
            row = None
        known = await self._apply(attempt, row) if row is not None else None
        if known is not None and row is not None and _is_to_be_verified(known, row):
            await self._verify(known)
            return
        await attempts.postpone(self._postgres, self._clock, attempt.unique_external_id)

    async def _verify(self, attempt: Attempt) -> None:
        """Lets a batch go; whether it went is seen by looking."""
        instant = await attempts.begin_verifying(self._postgres, self._clock, attempt)
        if instant is None:
            await self._wait_for_step(attempt)
            return
        try:
            await self._client.verify(attempt.batch_id, instant)
        except Trouble as trouble:
            log.warning("verification failed", code=trouble.code, payout_id=str(attempt.payout_id))
            if isinstance(trouble, Refused) and not isinstance(trouble, NotNow):
                metrics.REJECTED.labels("VERIFICATION").inc()
            await self._wait_for_step(attempt)
            return
        await attempts.verified(self._postgres, self._clock, attempt)

    async def _wait_for_step(self, attempt: Attempt) -> None:
        async with self._postgres.transaction() as connection:
            tries, _ = await submissions.verifying(connection, attempt.unique_external_id)
            if tries >= rules.VERIFY_TRIES_MAX:
                metrics.VERIFY_EXHAUSTED.inc()
            later = self._clock.now() + timedelta(seconds=30 if tries < rules.VERIFY_TRIES_MAX else 300)
            await submissions.plan(connection, attempt.unique_external_id, later)

    async def _row(self, batch_id: str, attempt: Attempt) -> Row | None:
        """This attempt's row of its batch, by a fresh look-up."""
        try:
            rows = await self._client.look_up(batch_id)
        except NotThere:
            return None
        named = [row for row in rows if row.unique_external_id == attempt.unique_external_id]
        return named[0] if named else rows[0] if len(rows) == 1 else None

    async def _apply(self, attempt: Attempt, row: Row) -> Attempt | None:
        return await attempts.apply(self._postgres, self._clock, attempt.unique_external_id, row, self._fee_paid_by)

    async def _halt(self, reason: str) -> None:
        log.error("nothing is handed over any more", reason=reason)
        async with self._postgres.transaction() as connection:
            await halts.set_halt(connection, reason, self._clock.now())


def _is_to_be_verified(attempt: Attempt, row: Row) -> bool:
    waits = row.standing in {Standing.CREATED, Standing.WAITING} and not row.was_verified
    return waits and attempt.state in {AttemptState.CREATED, AttemptState.VERIFIED}
