"""Surrogates of accounts: from the own copy, else from referral."""

from uuid import UUID

from libs import surrogates
from libs.postgres import Postgres, retried
from libs.refusals import Unavailable
from protos.referral.v1 import referral_pb2, referral_pb2_grpc


class ScoreAccountUnreachable(Unavailable):
    """Who this account is cannot be asked now; try again."""


class AccountRefs:
    """What referral knows, kept where it is needed again."""

    def __init__(self, postgres: Postgres, referral: referral_pb2_grpc.ReferralServiceStub) -> None:
        self._postgres = postgres
        self._referral = referral

    async def known(self, account_id: str) -> UUID | None:
        """Return the surrogate of an account; None where this service never made use of it. Asks nobody."""
        async with self._postgres.connection() as connection:
            return await surrogates.find(connection, account_id)

    async def made(self, account_id: str) -> UUID:
        """Return the surrogate of an account, made by referral where there is none."""
        if kept := await self.known(account_id):
            return kept
        answer = await self._referral.ResolveAccounts(referral_pb2.ResolveAccountsRequest(account_ids=[account_id]))
        if not answer.accounts:
            raise ScoreAccountUnreachable
        account_ref = UUID(answer.accounts[0].account_ref)
        await self._keep(account_id, account_ref)
        return account_ref

    @retried
    async def _keep(self, account_id: str, account_ref: UUID) -> None:
        async with self._postgres.connection() as connection:
            await surrogates.keep(connection, account_id, account_ref)
