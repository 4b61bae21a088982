"""A payout is asked for: written down, held at the ledger, recorded."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from libs import surrogates
from libs.clock import Clock
from libs.idempotency import M, Once, RequestIdReused
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from libs.refusals import FailedPrecondition, PermissionDenied
from services.payout import metrics
from services.payout.accounts import AccountSuspended, PayoutAccountUnreachable
from services.payout.commands.advancing import Advancing
from services.payout.commands.pricing import Pricing
from services.payout.ledger import LedgerRefused
from services.payout.model import Stage
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

_NONCE_BYTES = 16


class DestinationBlocked(PermissionDenied):
    """Nothing is sent to this address."""


class PayoutsClosed(FailedPrecondition):
    """Payouts are closed for the moment; earnings go on accruing."""


class AnsweredBefore(Exception):
    """This request has its answer, which is kept."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, checked; `quote_id` None for a fresh quote."""

    request_id: str
    fingerprint: bytes
    account_id: str
    account_ref: UUID
    amount_micro: int
    currency: Currency
    address: str
    memo: str
    quote_id: UUID | None


def fingerprint(request: Message, key: bytes) -> bytes:
    """Tell what was asked from anything else, without telling it."""
    return blake2b(request.SerializeToString(deterministic=True), digest_size=16, key=key).digest()


class Requesting:
    """Opens payouts."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        settings: Settings,
        pricing: Pricing,
        screening: Screening,
        advancing: Advancing,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._limits = settings.limits
        self._pricing = pricing
        self._screening = screening
        self._advancing = advancing

    async def request(self, wanted: Wanted, *, suspended: bool) -> tuple[Payout, Challenge | None]:
        """Open one payout; the same request finds the payout that it opened, and finishes what broke off.

        Returns it with what its owner is to do. Raises AnsweredBefore.

        Where the ledger does not answer the payout stays requested, and the sweeper asks on.
        """
        blocked = self._screening.is_blocked(wanted.address)
        opened = await self._open(wanted, suspended=suspended, blocked=blocked)
        if opened is None:
            raise DestinationBlocked(field="destination_address")
        payout, challenge = opened
        if payout.stage is Stage.REQUESTED:
            payout = await self._advancing.hold_soon(payout)
        check_held(payout)
        metrics.ASKED.labels(payout.stage.name).inc()
        return payout, challenge

    async def answer(self, once: Once[M], response: M) -> M:
        """Keep the answer; whoever asked the same at the same time may have been first, and theirs is the answer."""
        async with self._postgres.connection() as connection:
            try:
                return await once.remember(connection, response)
            except asyncpg.UniqueViolationError:
                return await once.replay(connection) or response

    @retried
    async def _open(self, wanted: Wanted, *, suspended: bool, blocked: bool) -> tuple[Payout, Challenge | None] | None:
        """Write a payout down, or find it; None where its address is blocked, which is kept."""
        async with self._postgres.transaction() as connection:
            await locks.request(connection, wanted.request_id, wanted.account_ref)
            met = await openings.look(connection, self._look(wanted))
            if met.was_answered:
                raise AnsweredBefore
            if met.was_requested:
                return await _opened_before(connection, wanted)
            if not self._settings.payouts_enabled:
                raise PayoutsClosed
            if suspended:
                raise AccountSuspended
            now, payout_id = self._clock.now(), new_id()
            offered = self._offered(wanted, met, now)
            await self._check_window(connection, wanted, met.so_far, payout_id, now)
            destination = await self._destination(connection, wanted, met, now, blocked=blocked)
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
                wanted.account_id,
                wanted.fingerprint,
                challenge=challenge,
                destination=fresh,
                shared=met.shared,
            ):
                raise PayoutAccountUnreachable
            return payout, challenge

    def _look(self, wanted: Wanted) -> openings.Look:
        return openings.Look(
            wanted.account_ref,
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
            return Quote(new_id(), wanted.account_ref, price.currency, wanted.amount_micro, *offer, now, now + lasts)
        if met.quote is None:
            raise quotes.QuoteUnknown
        if met.quote.expires_at <= now:
            raise quotes.QuoteExpired
        if (met.quote.amount_micro, met.quote.currency) != (wanted.amount_micro, wanted.currency.ticker):
            raise quotes.QuoteMismatch(field="quote_id")
        return met.quote

    async def _check_window(
        self, connection: Connection, wanted: Wanted, so_far: SoFar, payout_id: UUID, now: datetime
    ) -> None:
        try:
            approvals.check_window(so_far.last_requested_at, now, self._limits)
        except approvals.PayoutTooSoon:
            if not await limits.use_permission(connection, wanted.account_ref, payout_id, now):
                raise

    async def _destination(
        self, connection: Connection, wanted: Wanted, met: Situation, now: datetime, *, blocked: bool
    ) -> Destination:
        """Return where it goes; a new one is written with the payout, or here where it is blocked.

        One that was removed begins anew.
        """
        known, state = met.destination, DestinationState.BLOCKED if blocked else DestinationState.NEW
        if known is None:
            ticker, address_ref = wanted.currency.ticker, addresses.ref_of(wanted.address, self._settings.ref_key)
            known = Destination(
                new_id(), wanted.account_ref, ticker, wanted.address, wanted.memo, address_ref, state, now, None, None
            )
            if blocked:
                await surrogates.keep(connection, wanted.account_id, wanted.account_ref)
                if not await destinations.insert(connection, known):
                    raise PayoutAccountUnreachable
        elif (blocked and known.state is not state) or known.state is DestinationState.REMOVED:
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


def check_held(payout: Payout) -> None:
    """Raise LedgerRefused, as whoever asked first heard it, for a payout whose money the ledger did not hold."""
    if payout.stage is Stage.FAILED and not payout.held:
        raise LedgerRefused.because(payout.reason)
