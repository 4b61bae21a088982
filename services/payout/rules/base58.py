"""Base58 with and without its checksum, as Bitcoin, Tron, Solana and others spell bytes."""

import hashlib
from typing import Final

BITCOIN: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
RIPPLE: Final = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"

_CHECKSUM: Final = 4


def decode(text: str, alphabet: str = BITCOIN) -> bytes:
    """Return the bytes of a text. Raises ValueError for a letter outside the alphabet."""
    number = 0
    for letter in text:
        number = number * 58 + alphabet.index(letter)
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)


def decode_checked(text: str, alphabet: str = BITCOIN) -> bytes:
    """Return the bytes without their checksum. Raises ValueError where it does not fit."""
    raw = decode(text, alphabet)
    payload, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    if hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:_CHECKSUM] != checksum:
        raise ValueError("checksum")
    return payload
