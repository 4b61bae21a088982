"""What referral knows of accounts: surrogates and standings, from the own copy where that is enough."""

from typing import Final, NamedTuple
from uuid import UUID

from libs import surrogates
from libs.postgres import Postgres, retried
from libs.refusals import FailedPrecondition, Unavailable
from protos.referral.v1 import events_pb2, referral_pb2, referral_pb2_grpc
from services.payout.store import accounts

_TIMEOUT_S: Final = 2.0
_BARRED: Final = frozenset({events_pb2.STANDING_SUSPENDED, events_pb2.STANDING_FORFEITED})


class PayoutAccountUnreachable(Unavailable):
    """Who this account is cannot be asked now; try again."""


class AccountSuspended(FailedPrecondition):
    """The account is suspended: it is paid nothing until that is over."""


def is_barred(standing: int) -> bool:
    """Whether an account of this standing is paid nothing."""
    return standing in _BARRED


class Accounts:
    """Asked of referral; surrogates are kept where they are needed again."""

    def __init__(self, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub) -> None:
        self._postgres = postgres
        self._referral = referral

    async def known(self, account_id: str) -> UUID | None:
        """Return the surrogate of an account; None where this service never made use of it. Asks nobody."""
        async with self._postgres.connection() as connection:
            return await surrogates.find(connection, account_id)

    async def made(self, account_id: str) -> UUID:
        """Return the surrogate of an account, made by referral where there is none."""
        return await self.known(account_id) or await self.asked(account_id)

    async def asked(self, account_id: str) -> UUID:
        """Return the surrogate of an account that was not seen here before, as referral has it or makes it."""
        request = referral_pb2.ResolveAccountsRequest(account_ids=[account_id])
        answer = await self._referral.ResolveAccounts(request, timeout=_TIMEOUT_S)
        if not answer.accounts:
            raise PayoutAccountUnreachable
        account_ref = UUID(answer.accounts[0].account_ref)
        await self._keep(account_id, account_ref)
        return account_ref

    @retried
    async def _keep(self, account_id: str, account_ref: UUID) -> None:
        async with self._postgres.connection() as connection:
            await surrogates.keep(connection, account_id, account_ref)

    async def asking(self, account_id: str) -> "Asking":
        """Return who an account is and what its standing is, as far as is known here; else as referral says.

        A suspension that is on its way is met when the payout's turn comes: then referral is asked.
        """
        async with self._postgres.connection() as connection:
            known = await accounts.find_with_standing(connection, account_id)
        if known is None:
            return await self.look_up(account_id)
        account_ref, standing = known
        return Asking(account_ref, suspended=is_barred(standing))

    async def look_up(self, account_id: str) -> "Asking":
        """Ask referral who an account is, where it knows, and what its standing is now."""
        request = referral_pb2.GetStandingRequest(account_id=account_id)
        answer = await self._referral.GetStanding(request, timeout=_TIMEOUT_S)
        account_ref = UUID(answer.account_ref) if answer.account_ref else None
        return Asking(account_ref, suspended=is_barred(answer.standing))


class Asking(NamedTuple):
    """Who asks; `account_ref` None where referral has no surrogate yet. Suspended: it is paid nothing."""

    account_ref: UUID | None
    suspended: bool
