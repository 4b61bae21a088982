"""Addresses of every currency: known good ones, one letter off, of another network, nobody's."""

import random

import pytest

from libs.refusals import Refusal
from services.payout.model.currencies import CURRENCIES, Network
from services.payout.rules import addresses, base58, bech32

GOOD = {
    "btc": [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    ],
    "ltc": ["LaMT348PWRnrqeeWArpwQPbuanpXDZGEUz", "MQMcJhpWHYVeQArcZR3sBgyPZxxRtnH441"],
    "doge": ["DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L"],
    "trx": ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", "TEmGwPeRTPiLFLVfBxXkSP91yc5GMNQhfS"],
    "usdttrc20": ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"],
    "sol": ["7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv"],
    "usdcsol": ["7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv"],
    "xrp": ["rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"],
    "eth": ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"],
    "usdcmatic": ["0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"],
    "usdtbsc": ["0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"],
}
PAIRS = [(ticker, address) for ticker, known in GOOD.items() for address in known]


def word(ticker: str, address: str) -> str:
    try:
        return addresses.check_address(address, CURRENCIES[ticker])
    except Refusal as refusal:
        return refusal.reason


@pytest.mark.parametrize(("ticker", "address"), PAIRS)
def test_a_good_address_is_taken_in_its_one_spelling(ticker: str, address: str) -> None:
    assert word(ticker, address) == address


@pytest.mark.parametrize(("ticker", "address"), PAIRS)
def test_one_letter_off_is_no_address(ticker: str, address: str) -> None:
    if CURRENCIES[ticker].network is Network.SOLANA:
        pytest.skip("these have no checksum")
    dice = random.Random(address)
    for _ in range(20):
        place = dice.randrange(2, len(address))
        letter = dice.choice([each for each in "23456789acdefghjkmnpqrstuvwxyz" if each != address[place].lower()])
        assert word(ticker, address[:place] + letter + address[place + 1 :]) == "ADDRESS_INVALID"


@pytest.mark.parametrize(("ticker", "address"), PAIRS)
def test_an_address_of_another_network_is_none_of_this(ticker: str, address: str) -> None:
    own = CURRENCIES[ticker]
    for other in CURRENCIES.values():
        if other.network is not own.network and not (other.is_evm and own.is_evm):
            assert word(other.ticker, address) == "ADDRESS_INVALID"


def test_evm_addresses_are_taken_in_lower_case_and_not_in_wrong_case() -> None:
    good = GOOD["eth"][0]
    assert word("eth", good.lower()) == good
    assert word("eth", "0x" + good[2:].upper()) == "ADDRESS_INVALID"
    assert word("eth", good.swapcase().replace("0X", "0x")) == "ADDRESS_INVALID"


def test_segwit_addresses_are_one_in_either_case_and_never_mixed() -> None:
    good = GOOD["btc"][2]
    assert word("btc", good.upper()) == good
    assert word("btc", good[:10] + good[10:].upper()) == "ADDRESS_INVALID"


@pytest.mark.parametrize(
    ("text", "valid"),
    [  # BIP-350
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", True),
        ("bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", True),
        ("BC1SW50QGDZ25J", True),
        ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", True),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", False),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh", False),
        ("bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4", False),
        ("BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R", False),
        ("bc1pw5dgrnzv", False),
        ("bc1gmk9yu", False),
        ("BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P", False),
        ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", False),
    ],
)
def test_vectors_of_bip_350(text: str, valid: bool) -> None:  # noqa: FBT001
    if valid:
        bech32.decode(text, "bc")
    else:
        with pytest.raises(ValueError, match=r".*"):
            bech32.decode(text, "bc")


def test_a_witness_version_that_nobody_knows_yet_is_not_paid_to() -> None:
    assert word("btc", "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs") == "ADDRESS_INVALID"


@pytest.mark.parametrize(
    ("ticker", "address"),
    [
        ("eth", "0x" + "0" * 40),
        ("usdcmatic", "0x" + "0" * 39 + "9"),
        ("eth", "0x000000000000000000000000000000000000dEaD"),
        ("usdterc20", "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
        ("btc", "1BitcoinEaterAddressDontSendf59kuE"),
        ("usdttrc20", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
        ("sol", "11111111111111111111111111111111"),
        ("xrp", "rrrrrrrrrrrrrrrrrrrrrhoLvTp"),
    ],
)
def test_nothing_is_sent_where_nobody_has_the_key(ticker: str, address: str) -> None:
    assert word(ticker, address) == "ADDRESS_UNSPENDABLE"


@pytest.mark.parametrize(
    "text", ["", " ", "0x", "bc1", "1", "ß" * 34, "0" * 128, "l" * 40, "T" + "1" * 33, "\x00" * 42]
)
def test_nonsense_is_no_address_of_anything(text: str) -> None:
    for currency in CURRENCIES.values():
        assert word(currency.ticker, text) in {"ADDRESS_INVALID", "ADDRESS_UNSPENDABLE"}


def test_base58_keeps_leading_zeros() -> None:
    assert base58.decode("11" + "2") == b"\0\0\1"


@pytest.mark.parametrize(
    ("memo", "taken"),
    [("", True), ("0", True), ("4294967295", True), ("4294967296", False), ("01", False), ("-1", False), ("x", False)],
)
def test_a_tag_is_a_number_of_32_bits(memo: str, taken: bool) -> None:  # noqa: FBT001
    try:
        addresses.check_memo(memo, CURRENCIES["xrp"])
    except addresses.MemoInvalid:
        assert not taken
    else:
        assert taken


def test_the_surrogate_of_an_address_says_nothing_without_the_key() -> None:
    address = GOOD["eth"][0]
    assert addresses.ref_of(address, b"k" * 32) == addresses.ref_of(address.lower(), b"k" * 32)
    assert addresses.ref_of(address, b"k" * 32) != addresses.ref_of(address, b"l" * 32)
