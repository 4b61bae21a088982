"""Addresses: spelled right for their currency, and nobody's grave."""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final
from uuid import UUID

from libs.ethereum import NotAnAddress, checksummed
from libs.refusals import InvalidArgument
from services.payout.model.currencies import Currency, Network
from services.payout.rules import base58, bech32

MAX: Final = 128
_HASH: Final = 20
_KEY: Final = 32
_TAPROOT: Final = 1
_TAG: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_TAG_MAX: Final = 2**32 - 1
_PRECOMPILED: Final = 0xFFFF

_GRAVES: Final = frozenset(
    {
        "0x000000000000000000000000000000000000dead",
        "0xdead000000000000000042069420694206942069",
        "0xdeaddeaddeaddeaddeaddeaddeaddeaddeaddead",
        "0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        "0xffffffffffffffffffffffffffffffffffffffff",
        "1BitcoinEaterAddressDontSendf59kuE",
        "1CounterpartyXXXXXXXXXXXXXXXUWLpVr",
        "DDogepartyxxxxxxxxxxxxxxxxxxw1dfzr",
        "11111111111111111111111111111111",
        "1nc1nerator11111111111111111111111111111111",
        "So11111111111111111111111111111111111111112",
        "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "rrrrrrrrrrrrrrrrrrrrrhoLvTp",
        "rrrrrrrrrrrrrrrrrrrrBZbvji",
        "rrrrrrrrrrrrrrrrrNAMEtxvNvQ",
        "rrrrrrrrrrrrrrrrrrrn5RM1rHd",
        # Contracts of the coins themselves, which people paste for an address of their own.
        "0xdac17f958d2ee523a2206206994597c13d831ec7",
        "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
        "0x55d398326f99059ff775485246999027b3197955",
        "0x3c499c542cef5e3811e1192ce70d8cc03d5c3359",
        "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB",
    }
)
"""Addresses that nobody has the key of, as they are known; EVM addresses in lower case."""


class AddressInvalid(InvalidArgument):
    """That is no address of this currency."""


class AddressUnspendable(InvalidArgument):
    """Nobody has the key of that address: what is sent there is lost."""


class MemoInvalid(InvalidArgument):
    """A tag is a whole number below 2^32, and only some currencies have one."""


def check_address(text: str, currency: Currency) -> str:
    """Return an address in its one spelling. Raises AddressInvalid, AddressUnspendable."""
    if not (text.isascii() and 1 <= len(text) <= MAX):
        raise AddressInvalid(field="destination_address", currency=currency.ticker)
    try:
        address = _SPELLED[currency.network](text)
    except (ValueError, NotAnAddress):
        raise AddressInvalid(field="destination_address", currency=currency.ticker) from None
    if address in _GRAVES or (currency.is_evm and _is_evm_grave(address)):
        raise AddressUnspendable(field="destination_address")
    return address


def check_memo(memo: str, currency: Currency) -> str:
    """Return a memo that can go with an address. Raises MemoInvalid."""
    if memo and not (currency.has_memo and _TAG.fullmatch(memo) and int(memo) <= _TAG_MAX):
        raise MemoInvalid(field="memo", currency=currency.ticker)
    return memo


def ref_of(address: str, key: bytes) -> UUID:
    """Return the surrogate of an address: the same for whoever uses it, on whatever chain of its kind."""
    return UUID(bytes=blake2b(screened(address).encode(), digest_size=16, key=key, person=b"address").digest())


def screened(address: str) -> str:
    """Return the spelling under which an address is compared: case says nothing where it is only a checksum."""
    return address.lower() if address.startswith(("0x", "bc1", "ltc1")) else address


def _is_evm_grave(address: str) -> bool:
    return address.lower() in _GRAVES or int(address, 16) <= _PRECOMPILED


def _versions(versions: Mapping[int, int]) -> Callable[[str], str]:
    def spell(text: str) -> str:
        payload = base58.decode_checked(text)
        if len(payload) != 1 + versions.get(payload[0] if payload else -1, -1) or not any(payload[1:]):
            raise ValueError("version or length")
        return text

    return spell


def _segwit(prefix: str, legacy: Callable[[str], str]) -> Callable[[str], str]:
    def spell(text: str) -> str:
        if not text.lower().startswith(prefix + "1"):
            return legacy(text)
        version, program = bech32.decode(text, prefix)
        # Anybody can spend what goes to a version that the network does not know yet.
        if version > _TAPROOT or (version == _TAPROOT and len(program) != _KEY) or not any(program):
            raise ValueError("version")
        return text.lower()

    return spell


def _solana(text: str) -> str:
    if len(base58.decode(text)) != _KEY:
        raise ValueError("length")
    return text


def _xrp(text: str) -> str:
    payload = base58.decode_checked(text, base58.RIPPLE)
    if len(payload) != 1 + _HASH or payload[0]:
        raise ValueError("version or length")
    return text


_SPELLED: Final[Mapping[Network, Callable[[str], str]]] = MappingProxyType(
    {
        Network.ETHEREUM: checksummed,
        Network.BSC: checksummed,
        Network.POLYGON: checksummed,
        Network.TRON: _versions({0x41: _HASH}),
        Network.SOLANA: _solana,
        Network.BITCOIN: _segwit("bc", _versions({0x00: _HASH, 0x05: _HASH})),
        # Litecoin once shared Bitcoin's version 5 of scripts; such an address says nothing about whose it is.
        Network.LITECOIN: _segwit("ltc", _versions({0x30: _HASH, 0x32: _HASH})),
        Network.DOGECOIN: _versions({0x1E: _HASH, 0x16: _HASH}),
        Network.XRP: _xrp,
    }
)
