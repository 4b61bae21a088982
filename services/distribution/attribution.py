"""Who brought a payer: from memory, from the own copy, else from referral, one call at a time for all who wait."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg
import grpc

from libs import erasure, telemetry
from libs.postgres import FAULTS, Postgres
from libs.refusals import Unavailable
from libs.timestamps import to_datetime
from protos.referral.v1 import referral_pb2, referral_pb2_grpc
from services.distribution import metrics
from services.distribution.model import Attribution, Charge, Posted
from services.distribution.rules import refusals, shares
from services.distribution.settings import Settings
from services.distribution.store import attributions, journal
from services.distribution.store.attributions import Copy

_ASK_MAX = 500
_WAITING_MAX = 10_000
_ERASURES_EVERY_S = 1.0

_log = telemetry.logger(__name__)

Found = Attribution | Posted


class _Miss(NamedTuple):
    charge: Charge
    found: asyncio.Future[Found]


class Attributions:
    """What is known of payers, and how the rest is learnt.

    Decided once and immutable, so it is kept without expiry, until the account is erased.
    """

    def __init__(self, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub, settings: Settings) -> None:
        self._postgres = postgres
        self._referral = referral
        self._months = settings.attribution_window_months
        self._known_max = settings.attribution_cache_max
        self._wait_seconds = settings.attribution_wait_seconds
        self._known: dict[str, Attribution] = {}
        self._erased: frozenset[str] = frozenset()
        self._misses: deque[_Miss] = deque()
        self._work = asyncio.Event()
        self.known = self._known.get
        """The attribution of an account, if it is in memory."""

    async def find(self, charge: Charge) -> Found:
        """Return the payer's attribution, or what the journal holds where the charge was finalized before.

        The journal is asked before referral: a replay needs no referral, and must not decide anything about an account
        that has been erased since. Raises AttributionUnreachable, LedgerUnreachable or LedgerBusy.
        """
        if len(self._misses) >= _WAITING_MAX:
            raise refusals.LedgerBusy(limit=_WAITING_MAX)
        miss = _Miss(charge, asyncio.get_running_loop().create_future())
        self._misses.append(miss)
        self._work.set()
        return await miss.found

    async def run(self) -> None:
        """Answer misses until cancelled; while one round is under way the next one gathers."""
        try:
            while True:
                await self._work.wait()
                misses = [self._misses.popleft() for _ in range(min(len(self._misses), _ASK_MAX))]
                if not self._misses:
                    self._work.clear()
                await self._resolve([miss for miss in misses if not miss.found.done()])
        finally:
            _fail(self._misses, refusals.LedgerUnreachable)

    async def forget_erased(self) -> None:
        """Drop from memory who is erased, until cancelled; all of it while the database does not say who that is."""
        while True:
            try:
                async with self._postgres.connection() as connection:
                    recent = await erasure.recent(connection)
            except (*FAULTS, asyncpg.PostgresError) as fault:
                _log.warning("erasures: the database is away", fault=type(fault).__name__)
                self._known.clear()
            else:
                self._forget(recent)
            await asyncio.sleep(_ERASURES_EVERY_S)

    def _forget(self, recent: set[UUID]) -> None:
        erased = frozenset(map(str, recent))
        news, self._erased = erased - self._erased, erased
        if news:
            gone = [account_id for account_id, known in self._known.items() if known.payer_ref in news]
            for account_id in gone:
                del self._known[account_id]

    async def _resolve(self, misses: Sequence[_Miss]) -> None:
        try:
            await self._look_up(misses)
            await self._ask([miss for miss in misses if not miss.found.done()])
        except (*FAULTS, asyncpg.PostgresError) as fault:
            _log.warning("attribution: the database is away", fault=type(fault).__name__)
        finally:
            _fail(misses, refusals.LedgerUnreachable)

    async def _look_up(self, misses: Sequence[_Miss]) -> None:
        """Answer from the own copy and from the journal."""
        async with self._postgres.connection() as connection:
            copies = await attributions.find_many(connection, list({miss.charge.payer_account_id for miss in misses}))
            self._remember(copies.items())
            self._answer(misses, "copy")
            rest = [miss for miss in misses if not miss.found.done()]
            if not rest:
                return
            posted = await journal.find_posted(connection, [miss.charge.inference_charge_id for miss in rest])
        for miss in rest:
            if earlier := posted.get(miss.charge.inference_charge_id):
                _set(miss, earlier)

    async def _ask(self, misses: Sequence[_Miss]) -> None:
        """Ask referral. Where it refuses a whole batch, halves find out whose account it was."""
        if not misses:
            return
        account_ids = list({miss.charge.payer_account_id for miss in misses})
        try:
            response = await self._referral.ResolveAttribution(
                referral_pb2.ResolveAttributionRequest(account_ids=account_ids), timeout=self._wait_seconds
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT and len(misses) > 1:
                middle = len(misses) // 2
                await self._ask(misses[:middle])
                await self._ask(misses[middle:])
                return
            _log.warning("attribution: referral cannot be asked", code=error.code().name)
            _fail(misses, refusals.AttributionUnreachable)
            return
        copies = {each.account_id: _copy(each) for each in response.attributions}
        async with self._postgres.transaction() as connection:
            await attributions.keep(connection, copies)
        self._remember(copies.items())
        self._answer(misses, "referral")
        # Whoever the answer left out, or was erased meanwhile: asked again, it is somebody new.
        _fail(misses, refusals.AttributionUnreachable)

    def _remember(self, copies: Iterable[tuple[str, Copy]]) -> None:
        for account_id, copy in copies:
            if copy.account_ref in self._erased:
                continue
            window_end = shares.months_later(copy.registered_at, self._months)
            self._known[account_id] = Attribution(copy.account_ref, copy.referrer_ref, copy.registered_at, window_end)
        while len(self._known) > self._known_max:
            self._known.pop(next(iter(self._known)))

    def _answer(self, misses: Iterable[_Miss], source: str) -> None:
        answered = 0
        for miss in misses:
            if attribution := self._known.get(miss.charge.payer_account_id):
                _set(miss, attribution)
                answered += 1
        metrics.UNATTRIBUTED.labels(source).inc(answered)


def _fail(misses: Iterable[_Miss], refusal: type[Unavailable]) -> None:
    for miss in misses:
        if not miss.found.done():
            miss.found.set_exception(refusal())


def _set(miss: _Miss, found: Found) -> None:
    if not miss.found.done():
        miss.found.set_result(found)


def _copy(answer: referral_pb2.Attribution) -> Copy:
    return Copy(answer.account_ref, answer.referrer_ref or None, to_datetime(answer.registered_at))


class AccountRefs:
    """Surrogates of single accounts, off the hot path: from the own copy, else from referral."""

    def __init__(self, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub) -> None:
        self._postgres = postgres
        self._referral = referral

    async def known(self, account_id: str) -> str | None:
        """Return the surrogate of an account; None where it has none. None is made by asking."""
        return await self._resolve(account_id, existing_only=True)

    async def made(self, account_id: str) -> str:
        """Return the surrogate of an account, made where there is none."""
        account_ref = await self._resolve(account_id, existing_only=False)
        if account_ref is None:
            raise refusals.AttributionUnreachable
        return account_ref

    async def _resolve(self, account_id: str, *, existing_only: bool) -> str | None:
        async with self._postgres.connection() as connection:
            if kept := await attributions.find_ref(connection, account_id):
                return kept
        answer = await self._referral.ResolveAccounts(
            referral_pb2.ResolveAccountsRequest(account_ids=[account_id], existing_only=existing_only)
        )
        if not answer.accounts:
            return None
        account_ref = answer.accounts[0].account_ref
        async with self._postgres.transaction() as connection:
            await attributions.keep_ref(connection, account_id, account_ref)
        return account_ref
