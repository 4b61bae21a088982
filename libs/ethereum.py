"""EVM addresses, and signatures of texts by wallets (EIP-191 `personal_sign`)."""

import re
from typing import Final

from eth_account import Account
from eth_account.messages import defunct_hash_message, encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_SIGNATURE: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{130})")
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1 (SEC 2, section 2.4.1)."""
_RECOVERY_BYTES: Final = frozenset({0, 1, 27, 28})


class NotAnAddress(ValueError):
    """Not 0x and 40 hex digits, or mixed case that is not its EIP-55 checksum."""


class SignatureMalformed(ValueError):
    """Not 65 bytes r, s, v in hex, or not on the curve."""


class SignatureMalleable(ValueError):
    """Its s lies in the upper half of the order: anybody can make it from the one with the lower s (EIP-2)."""


def checksummed(address: str) -> str:
    """Return an address in its one spelling (EIP-55). All lower case is taken as it is. Raises NotAnAddress."""
    if not _ADDRESS.fullmatch(address):
        raise NotAnAddress(address[:64])
    digits = address[2:]
    spelled: str = to_checksum_address(address)
    if digits != digits.lower() and address != spelled:
        raise NotAnAddress(address)
    return spelled


def is_raw_signature(signature: str) -> bool:
    """Whether it has the 65 bytes of an account's own signature; a contract's may have any number."""
    return bool(_SIGNATURE.fullmatch(signature))


def signer(text: str, signature: str) -> str:
    """Return the checksummed address whose key signed a text with `personal_sign`.

    Raises SignatureMalformed, SignatureMalleable.
    """
    matched = _SIGNATURE.fullmatch(signature)
    if matched is None:
        raise SignatureMalformed("65 bytes in hex")
    raw = bytes.fromhex(matched[1])
    r, s, v = int.from_bytes(raw[:32]), int.from_bytes(raw[32:64]), raw[64]
    if not (0 < r < _ORDER and 0 < s < _ORDER and v in _RECOVERY_BYTES):
        raise SignatureMalformed("r, s or v out of range")
    if s > _ORDER // 2:
        raise SignatureMalleable("s in the upper half")
    try:
        recovered: str = Account.recover_message(encode_defunct(text=text), signature=raw)
    except (BadSignature, ValidationError):
        raise SignatureMalformed("no point of the curve") from None
    return recovered


def text_hash(text: str) -> bytes:
    """Return the 32 bytes that `personal_sign` signs: what a contract wallet is asked about (EIP-1271)."""
    return bytes(defunct_hash_message(text=text))
