"""Addresses of witness programs (BIP-173, BIP-350)."""

from typing import Final

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32: Final = 1
_BECH32M: Final = 0x2BC830A3
_MAX: Final = 90
_CHECKSUM: Final = 6
_VERSION_MAX: Final = 16
_PROGRAM: Final = range(2, 41)
_LENGTHS_V0: Final = (20, 32)


def decode(text: str, prefix: str) -> tuple[int, bytes]:
    """Return version and program of a segwit address of a network. Raises ValueError."""
    if text not in {text.lower(), text.upper()} or len(text) > _MAX:
        raise ValueError("mixed case or too long")
    found, separator, letters = text.lower().rpartition("1")
    if found != prefix or not separator or len(letters) <= _CHECKSUM:
        raise ValueError("prefix")
    values = [_ALPHABET.index(letter) for letter in letters]
    version = values[0]
    checksum = _polymod([*(ord(each) >> 5 for each in prefix), 0, *(ord(each) & 31 for each in prefix), *values])
    if version > _VERSION_MAX or checksum != (_BECH32M if version else _BECH32):
        raise ValueError("checksum")
    program = _bytes(values[1:-_CHECKSUM])
    if len(program) not in _PROGRAM or (not version and len(program) not in _LENGTHS_V0):
        raise ValueError("length")
    return version, program


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate(_GENERATOR):
            checksum ^= part if top >> bit & 1 else 0
    return checksum


def _bytes(values: list[int]) -> bytes:
    """Regroup five bits to eight; what is left over is less than five bits, all zero."""
    number = 0
    for value in values:
        number = number << 5 | value
    left = len(values) * 5 % 8
    if left >= 5 or number & ((1 << left) - 1):  # noqa: PLR2004 - bits of one letter
        raise ValueError("padding")
    return (number >> left).to_bytes(len(values) * 5 // 8)
