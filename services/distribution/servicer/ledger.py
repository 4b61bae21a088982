"""creator.distribution.v1.LedgerService: what everybody has."""

from datetime import timedelta
from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.distribution.v1 import ledger_pb2, ledger_pb2_grpc
from protos.referral.v1 import referral_pb2, referral_pb2_grpc
from services.distribution.model import creator_account
from services.distribution.rules import queries
from services.distribution.servicer.messages import write_balances, write_earnings, write_families
from services.distribution.servicer.statements import Statements
from services.distribution.store import accounts, attributions, earnings

_READERS: Final = frozenset({"gateway", "payout", "score", "leaderboard"})
_OPERATORS: Final = frozenset({"gateway"})

CALLERS: Final = {
    "GetBalances": _READERS,
    "GetBalanceAt": _OPERATORS,
    "GetEarnings": frozenset({"gateway", "payout", "leaderboard", "referral"}),
    "ListEntries": _OPERATORS,
    "GetStatement": _OPERATORS,
    "GetTransfer": _OPERATORS,
    "ListPlatformBalances": _OPERATORS,
    "GetTrialBalance": _OPERATORS,
}
"""Who may call what, by the name in the caller's certificate."""


class LedgerServicer(Statements, ledger_pb2_grpc.LedgerServiceServicer):
    """creator.distribution.v1.LedgerService."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        referral: referral_pb2_grpc.ReferralServiceStub,
        *,
        settlement_delay: timedelta,
        hold: timedelta,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._referral = referral
        self._settlement_delay = settlement_delay
        self._hold = hold

    async def GetBalances(
        self, request: ledger_pb2.GetBalancesRequest, context: Context
    ) -> ledger_pb2.GetBalancesResponse:
        names = queries.check_account_names(request.account_names)
        if request.account_id:
            account_ref = await self._account_ref(queries.check_account_id(request.account_id))
            names += [creator_account(account_ref, part) for part in ("pending", "settled", "held")]
        async with self._postgres.connection() as connection:
            return ledger_pb2.GetBalancesResponse(balances=write_balances(await accounts.balances(connection, names)))

    async def GetEarnings(
        self, request: ledger_pb2.GetEarningsRequest, context: Context
    ) -> ledger_pb2.GetEarningsResponse:
        account_ref = await self._account_ref(queries.check_account_id(request.account_id))
        now = self._clock.now()
        if not account_ref:
            return ledger_pb2.GetEarningsResponse(as_of=to_timestamp(now))
        async with self._postgres.transaction(readonly=True) as connection:
            found = await earnings.read(
                connection, account_ref, now, settlement_delay=self._settlement_delay, hold=self._hold
            )
        return write_earnings(found)

    async def ListPlatformBalances(
        self, request: ledger_pb2.ListPlatformBalancesRequest, context: Context
    ) -> ledger_pb2.ListPlatformBalancesResponse:
        size = queries.check_page(request.page_size, request.page_token)
        prefix = queries.check_prefix(request.name_prefix)
        async with self._postgres.connection() as connection:
            page = await accounts.list_platform(connection, prefix, request.page_token, size + 1)
        token = page[size - 1].account_name if len(page) > size else ""
        return ledger_pb2.ListPlatformBalancesResponse(balances=write_balances(page[:size]), next_page_token=token)

    async def GetTrialBalance(
        self, request: ledger_pb2.GetTrialBalanceRequest, context: Context
    ) -> ledger_pb2.GetTrialBalanceResponse:
        as_of = to_timestamp(self._clock.now())
        async with self._postgres.connection() as connection:
            families = await accounts.families(connection)
        total_micro = sum(family.balance_micro for family in families)
        return ledger_pb2.GetTrialBalanceResponse(
            families=write_families(families), total_micro=total_micro, as_of=as_of
        )

    async def _account_ref(self, account_id: str) -> str:
        """Return the surrogate of an account; empty where it has none, and so no money. None is made by asking."""
        async with self._postgres.connection() as connection:
            if known := await attributions.find_ref(connection, account_id):
                return known
        answer = await self._referral.ResolveAccounts(
            referral_pb2.ResolveAccountsRequest(account_ids=[account_id], existing_only=True)
        )
        return next((account.account_ref for account in answer.accounts), "")
