"""Wallets."""

from libs.refusals import Refusal
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.score.v1 import events_pb2, score_pb2
from services.score import metrics
from services.score.commands import wallets as commands
from services.score.model import ScoredWallet, Wallet
from services.score.rules import requests
from services.score.rules import wallets as rules
from services.score.servicer.base import Base
from services.score.store import snapshots, wallets


class Wallets(Base):
    """Challenged, linked, unlinked, listed."""

    async def CreateChallenge(
        self, request: score_pb2.CreateChallengeRequest, context: Context
    ) -> score_pb2.CreateChallengeResponse:
        account_id = requests.check_account_id(request.account_id)
        address = rules.check_address(request.wallet_address)
        chain_id = rules.check_chain(request.chain_id, self._limits)
        account_ref = await self._account_refs.made(account_id)
        challenge = await commands.create_challenge(
            self._postgres, self._clock, self._limits, account_ref, address, chain_id
        )
        return score_pb2.CreateChallengeResponse(
            nonce=challenge.nonce.hex(),
            text=rules.text_of(challenge, account_id),
            expires_at=to_timestamp(challenge.expires_at),
        )

    async def LinkWallet(self, request: score_pb2.LinkWalletRequest, context: Context) -> score_pb2.LinkWalletResponse:
        account_id = requests.check_account_id(request.account_id)
        address = rules.check_address(request.wallet_address)
        chain_id = rules.check_chain(request.chain_id, self._limits)
        nonce, signature = rules.check_nonce(request.nonce), rules.check_signature(request.signature)
        account_ref = await self._account_refs.known(account_id)
        if account_ref is None:
            raise rules.ChallengeUnknown
        asked = commands.Asked(account_id, account_ref, address, chain_id, nonce, signature)
        try:
            linked = await commands.link_wallet(self._postgres, self._clock, self._limits, self._contracts, asked)
        except Refusal as refusal:
            metrics.LINKS.labels(refusal.reason).inc()
            raise
        metrics.LINKS.labels("ALREADY_LINKED" if linked.already else "LINKED").inc()
        async with self._postgres.connection() as connection:
            newest = await snapshots.newest(connection)
            scored = await wallets.list_scored(connection, account_ref, newest.snapshot_id if newest else None)
        score = next((each.score for each in scored if each.wallet.address == address), 0)
        return score_pb2.LinkWalletResponse(
            wallet=self._wallet(ScoredWallet(linked.wallet, score)), already_linked=linked.already
        )

    async def UnlinkWallet(
        self, request: score_pb2.UnlinkWalletRequest, context: Context
    ) -> score_pb2.UnlinkWalletResponse:
        account_id = requests.check_account_id(request.account_id)
        address = rules.check_address(request.wallet_address)
        account_ref = await self._account_refs.known(account_id)
        if account_ref is None:
            return score_pb2.UnlinkWalletResponse()
        unlinked = await commands.unlink_wallet(self._postgres, self._clock, self._limits, account_ref, address)
        return score_pb2.UnlinkWalletResponse(
            unlinked=unlinked.changed,
            free_from=to_timestamp(unlinked.free_from) if unlinked.free_from else None,
        )

    async def ListWallets(
        self, request: score_pb2.ListWalletsRequest, context: Context
    ) -> score_pb2.ListWalletsResponse:
        account_id = requests.check_account_id(request.account_id)
        account_ref = await self._account_refs.known(account_id)
        async with self._postgres.transaction(readonly=True) as connection:
            newest = await snapshots.newest(connection)
            found = (
                await wallets.list_scored(connection, account_ref, newest.snapshot_id if newest else None)
                if account_ref
                else []
            )
        return score_pb2.ListWalletsResponse(
            wallets=[self._wallet(each) for each in found],
            scores_as_of=to_timestamp(newest.taken_at) if newest else None,
        )

    async def GetWalletOwner(
        self, request: score_pb2.GetWalletOwnerRequest, context: Context
    ) -> score_pb2.GetWalletOwnerResponse:
        address = rules.check_address(request.wallet_address)
        async with self._postgres.connection() as connection:
            owner = await wallets.owner(connection, address)
        return score_pb2.GetWalletOwnerResponse(account_ref=str(owner or ""))

    async def ListShortAddresses(
        self, request: score_pb2.ListShortAddressesRequest, context: Context
    ) -> score_pb2.ListShortAddressesResponse:
        account_refs = requests.check_refs(list(request.account_refs))
        async with self._postgres.connection() as connection:
            found = await wallets.oldest_addresses(connection, account_refs)
        return score_pb2.ListShortAddressesResponse(
            addresses=[
                score_pb2.ShortAddress(account_ref=str(account_ref), short_address=rules.shortened(address))
                for account_ref, address in found.items()
            ]
        )

    def _wallet(self, scored: ScoredWallet) -> score_pb2.Wallet:
        wallet: Wallet = scored.wallet
        return score_pb2.Wallet(
            wallet_address=wallet.address,
            chain_id=wallet.chain_id,
            state=events_pb2.WalletState.ValueType(wallet.state),
            score=str(scored.score),
            below_minimum=scored.score < self._settings.wallet_minimum_score,
            linked_at=to_timestamp(wallet.linked_at),
        )
