"""What referral knows of accounts: surrogates and standings, from the own copy where that is enough."""

from typing import Final
from uuid import UUID

from libs import surrogates
from libs.postgres import Postgres, retried
from libs.refusals import FailedPrecondition, Unavailable
from protos.referral.v1 import events_pb2, referral_pb2, referral_pb2_grpc

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

    async def is_suspended(self, account_id: str) -> bool:
        """Whether referral says, now, that an account is paid nothing."""
        request = referral_pb2.GetStandingRequest(account_id=account_id)
        return is_barred((await self._referral.GetStanding(request, timeout=_TIMEOUT_S)).standing)
