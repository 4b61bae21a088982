"""Addresses and signatures of wallets."""

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from libs.ethereum import (
    NotAnAddress,
    SignatureMalformed,
    SignatureMalleable,
    checksummed,
    is_raw_signature,
    signer,
    text_hash,
)

# The examples of EIP-55.
SPELLED = (
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)
KEY = "0x" + "4c" * 32
WALLET = Account.from_key(KEY)
TEXT = "Link this wallet.\nNonce: 00ff — é"
SIGNED: str = "0x" + bytes(WALLET.sign_message(encode_defunct(text=TEXT)).signature).hex()
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize("address", SPELLED)
def test_an_address_is_taken_in_its_checksum_and_in_lower_case(address: str) -> None:
    assert checksummed(address) == checksummed(address.lower())
    assert checksummed(address).lower() == address.lower()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0x",
        SPELLED[2][:-1],
        SPELLED[2] + "0",
        SPELLED[2][2:],
        SPELLED[2].swapcase(),
        SPELLED[2].replace("A", "a", 1),
        "0x" + SPELLED[2][2:].upper(),
        SPELLED[2] + "\n",
        "0x" + "g" * 40,
    ],
)
def test_what_is_misspelled_is_no_address(address: str) -> None:
    with pytest.raises(NotAnAddress):
        checksummed(address)


@pytest.mark.parametrize("signature", [SIGNED, SIGNED[2:], SIGNED.upper().replace("0X", "0x")])
def test_a_signature_leads_to_its_wallet(signature: str) -> None:
    assert signer(TEXT, signature) == WALLET.address
    assert is_raw_signature(signature)


def test_the_two_forms_of_the_recovery_byte_are_one() -> None:
    raw = bytes.fromhex(SIGNED[2:])
    assert signer(TEXT, (raw[:64] + bytes([raw[64] - 27])).hex()) == WALLET.address


def test_another_text_leads_elsewhere() -> None:
    assert signer(TEXT + " ", SIGNED) != WALLET.address


def test_the_mirrored_signature_is_refused() -> None:
    raw = bytes.fromhex(SIGNED[2:])
    mirrored = raw[:32] + (ORDER - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([27 + 28 - raw[64]])
    with pytest.raises(SignatureMalleable):
        signer(TEXT, mirrored.hex())


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "0x",
        SIGNED[:-2],
        SIGNED + "00",
        "zz" * 65,
        "00" * 65,
        "ff" * 65,
        SIGNED[:-2] + "1d",
        f"{0:064x}{1:064x}1b",
        f"{1:064x}{0:064x}1b",
        f"{5:064x}{1:064x}1b",
    ],
)
def test_a_malformed_signature_is_refused(signature: str) -> None:
    with pytest.raises(SignatureMalformed):
        signer(TEXT, signature)


def test_the_hash_that_contracts_are_asked_about_is_the_one_that_was_signed() -> None:
    assert text_hash(TEXT) == bytes(WALLET.sign_message(encode_defunct(text=TEXT)).message_hash)
