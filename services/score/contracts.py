"""Wallets that are contracts: asked on their chain whether a signature is theirs (EIP-1271)."""

import asyncio
from collections.abc import Mapping
from typing import Final

from eth_abi.abi import encode
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import ContractLogicError, Web3Exception

from libs.refusals import Unavailable
from libs.telemetry import logger
from services.score.rules.wallets import ContractWalletsUnsupported

log = logger(__name__)

_SELECTOR: Final = bytes.fromhex("1626ba7e")
"""isValidSignature(bytes32,bytes), and what it answers for yes."""
_WORD: Final = 32


class ChainUnreachable(Unavailable):
    """The wallet's chain cannot be asked now; try again."""


class Contracts:
    """Asks the configured endpoint of each chain. Without one a contract's signature can never be believed."""

    def __init__(self, endpoints: Mapping[int, str], timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        # Whoever asked is told at once, and tries again: that is bounded; trying here would eat its deadline.
        self._chains = {
            chain_id: AsyncWeb3(AsyncHTTPProvider(url, exception_retry_configuration=None))
            for chain_id, url in endpoints.items()
        }

    async def accept(self, chain_id: int, address: str, digest: bytes, signature: str) -> bool:
        """Whether the contract at an address accepts a signature of 32 bytes. An address without code accepts none.

        Raises ContractWalletsUnsupported, ChainUnreachable.
        """
        chain = self._chains.get(chain_id)
        if chain is None:
            raise ContractWalletsUnsupported
        data = _SELECTOR + encode(["bytes32", "bytes"], [digest, bytes.fromhex(signature.removeprefix("0x"))])
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await chain.eth.call({"to": chain.to_checksum_address(address), "data": data})
        except ContractLogicError:
            return False  # the contract reverted
        except (Web3Exception, OSError, TimeoutError, ValueError) as error:
            log.warning("a chain does not answer", chain_id=chain_id, error=type(error).__name__)
            raise ChainUnreachable from None
        return bytes(answer[:_WORD]) == _SELECTOR.ljust(_WORD, b"\0")

    async def close(self) -> None:
        """Closes all connections."""
        for chain in self._chains.values():
            await chain.provider.disconnect()
