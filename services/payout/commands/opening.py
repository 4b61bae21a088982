"""How a payout begins: judged by what it meets, and written down."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs import surrogates
from libs.clock import Clock
from libs.idempotency import RequestIdReused
from libs.ids import new_id
from libs.postgres import CONFLICTS, Connection, Postgres, retried
from libs.refusals import FailedPrecondition, PermissionDenied
from services.payout.accounts import Accounts, AccountSuspended, PayoutAccountUnreachable, is_barred
from services.payout.commands.pricing import Pricing
from services.payout.model.currencies import CURRENCIES, Currency
from services.payout.model.destinations import Destination, DestinationState
from services.payout.model.payouts import Payout, begun
from services.payout.rules import addresses, approvals, confirmations, quotes
from services.payout.rules.confirmations import Challenge, Method
from services.payout.screening import Screening
from services.payout.settings import Settings
from services.payout.store import confirmations as confirmation_store
from services.payout.store import destinations, limits, locks, openings, payouts
from services.payout.store.limits import SoFar
from services.payout.store.openings import Situation
from services.payout.store.prices import Quote

_NONCE_BYTES: Final = 16


class DestinationBlocked(PermissionDenied):
    """Nothing is sent to this address."""


class PayoutsClosed(FailedPrecondition):
    """Payouts are closed for the moment; earnings go on accruing."""


class AnsweredBefore(Exception):
    """This request has its answer, which is kept."""


class _NotSeen(Exception):
    """This service has not seen the account, or has forgotten it."""


class _TurnNeeded(Exception):
    """There is more to write than one statement writes: the account's turn is to be taken first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, checked; `quote_id` None for a fresh quote."""

    request_id: str
    fingerprint: bytes
    account_id: str
    amount_micro: int
    currency: Currency
    address: str
    memo: str
    quote_id: UUID | None


class Opening:
    """Writes payouts down."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        settings: Settings,
        accounts: Accounts,
        pricing: Pricing,
        screening: Screening,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._limits = settings.limits
        self._accounts = accounts
        self._pricing = pricing
        self._screening = screening

    async def open(self, wanted: Wanted) -> tuple[Payout, Challenge | None]:
        """Write a payout down, or find the one that this request has opened; with what its owner is to do.

        A suspension that is still on its way is met when the payout's turn comes: then referral is asked. Raises
        AnsweredBefore, and whatever keeps the account from asking.
        """
        try:
            opened = await self._open(wanted)
        except _NotSeen:
            await self._meet(wanted.account_id)
            opened = await self._open_alone(wanted)
        if opened is None:
            raise DestinationBlocked(field="destination_address")
        return opened

    async def _meet(self, account_id: str) -> None:
        """Learn who somebody new is; what referral told of them by event may not have come yet, so it is asked."""
        await self._accounts.asked(account_id)
        if await self._accounts.is_suspended(account_id):
            raise AccountSuspended

    async def _open(self, wanted: Wanted) -> tuple[Payout, Challenge | None] | None:
        """Nearly always one look and one statement do, which insists that nobody had a turn in between.

        None where the address is blocked, which is kept.
        """
        try:
            async with self._postgres.connection() as connection:
                return await self._opened(connection, wanted, alone=False)
        except (*CONFLICTS, _TurnNeeded):
            return await self._open_alone(wanted)

    @retried
    async def _open_alone(self, wanted: Wanted) -> tuple[Payout, Challenge | None] | None:
        async with self._postgres.transaction() as connection:
            account_ref = await surrogates.find(connection, wanted.account_id)
            if account_ref is None:
                raise PayoutAccountUnreachable
            await locks.account(connection, account_ref)
            return await self._opened(connection, wanted, alone=True)

    async def _opened(
        self, connection: Connection, wanted: Wanted, *, alone: bool
    ) -> tuple[Payout, Challenge | None] | None:
        met = await openings.look(connection, self._look(wanted))
        if met is None:
            raise PayoutAccountUnreachable if alone else _NotSeen
        if met.was_answered:
            raise AnsweredBefore
        if met.was_requested:
            return await _opened_before(connection, wanted)
        if not self._settings.payouts_enabled:
            raise PayoutsClosed
        if is_barred(met.standing):
            raise AccountSuspended
        now, payout_id = self._clock.now(), new_id()
        offered = self._offered(wanted, met, now)
        await self._check_window(connection, met, payout_id, now, alone=alone)
        destination = await self._destination(connection, wanted, met, now, alone=alone)
        if destination.state is DestinationState.BLOCKED:
            return None
        payout = self._begun(wanted, destination, payout_id, offered, met.so_far, now)
        challenge = None
        if payout.needs_confirmation:
            challenge = challenge_for(payout, now, timedelta(seconds=self._settings.confirmation_seconds))
        fresh = destination if met.destination is None else None
        if not await openings.insert(
            connection,
            payout,
            wanted.fingerprint,
            turn=met.turn,
            challenge=challenge,
            destination=fresh,
            shared=met.shared,
        ):
            raise PayoutAccountUnreachable
        return payout, challenge

    def _look(self, wanted: Wanted) -> openings.Look:
        return openings.Look(
            wanted.account_id,
            wanted.request_id,
            wanted.currency.ticker,
            wanted.quote_id,
            wanted.address,
            wanted.memo,
            addresses.ref_of(wanted.address, self._settings.ref_key),
        )

    def _offered(self, wanted: Wanted, met: Situation, now: datetime) -> Quote:
        least_micro = self._settings.payout_minimum_micro
        if wanted.amount_micro < least_micro:
            raise quotes.BelowMinimum(field="amount_micro", minimum_micro=least_micro)
        if wanted.quote_id is None:
            price = self._pricing.usable(met.price, wanted.currency.ticker)
            lasts = timedelta(seconds=self._settings.quote_seconds)
            offer = quotes.offer(wanted.amount_micro, price, least_micro=least_micro)
            return Quote(new_id(), met.account_ref, price.currency, wanted.amount_micro, *offer, now, now + lasts)
        if met.quote is None:
            raise quotes.QuoteUnknown
        if met.quote.expires_at <= now:
            raise quotes.QuoteExpired
        if (met.quote.amount_micro, met.quote.currency) != (wanted.amount_micro, wanted.currency.ticker):
            raise quotes.QuoteMismatch(field="quote_id")
        return met.quote

    async def _check_window(
        self, connection: Connection, met: Situation, payout_id: UUID, now: datetime, *, alone: bool
    ) -> None:
        try:
            approvals.check_window(met.so_far.last_requested_at, now, self._limits)
        except approvals.PayoutTooSoon:
            if not alone:
                raise _TurnNeeded from None
            if not await limits.use_permission(connection, met.account_ref, payout_id, now):
                raise

    async def _destination(
        self, connection: Connection, wanted: Wanted, met: Situation, now: datetime, *, alone: bool
    ) -> Destination:
        """Return where it goes; a new one is written with the payout, or here where it is blocked.

        One that was removed begins anew.
        """
        known, blocked = met.destination, self._screening.is_blocked(wanted.address)
        state = DestinationState.BLOCKED if blocked else DestinationState.NEW
        changes = known is not None and (
            (blocked and known.state is not state) or known.state is DestinationState.REMOVED
        )
        if (changes or (blocked and known is None)) and not alone:
            raise _TurnNeeded
        if known is None:
            ticker, address_ref = wanted.currency.ticker, addresses.ref_of(wanted.address, self._settings.ref_key)
            known = Destination(
                new_id(), met.account_ref, ticker, wanted.address, wanted.memo, address_ref, state, now, None, None
            )
            if blocked and not await destinations.insert(connection, known):
                raise PayoutAccountUnreachable
        elif changes:
            known = await destinations.set_state(connection, known, state)
            await destinations.tell(connection, known, now)
        return known

    def _begun(
        self,
        wanted: Wanted,
        destination: Destination,
        payout_id: UUID,
        offered: Quote,
        so_far: SoFar,
        now: datetime,
    ) -> Payout:
        cumulative_micro = so_far.cumulative_micro + wanted.amount_micro
        needs = approvals.needs(wanted.amount_micro, cumulative_micro, self._limits)
        confirmed = destination.state is DestinationState.CONFIRMED
        return begun(
            payout_id,
            destination,
            wanted.amount_micro,
            fee_micro=offered.fee_micro,
            net_amount=offered.net_amount,
            quoted_until=offered.expires_at,
            needs_confirmation=needs.fresh or not confirmed,
            approvals_needed=needs.approvals,
            approval_reasons=tuple(needs.reasons),
            cumulative_micro=cumulative_micro,
            due_at=max(now, destination.usable_from or now) if confirmed else now,
            request_id=wanted.request_id,
            now=now,
        )


async def _opened_before(connection: Connection, wanted: Wanted) -> tuple[Payout, Challenge | None]:
    payout, known = await payouts.by_request(connection, wanted.request_id)
    if known != wanted.fingerprint:
        raise RequestIdReused(field="request_id")
    return payout, await confirmation_store.find(connection, payout.payout_id)


def challenge_for(payout: Payout, now: datetime, lasts: timedelta) -> Challenge:
    """Return what the owner of a payout's destination is to do."""
    expires_at = now + lasts
    if CURRENCIES[payout.currency].is_evm:
        text = confirmations.text_of(payout, secrets.token_hex(_NONCE_BYTES), expires_at)
        return Challenge(Method.SIGNATURE, text, expires_at)
    return Challenge(Method.TYPED_AGAIN, "", expires_at)
