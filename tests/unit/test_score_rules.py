"""What score decides without asking anybody."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from libs.refusals import Refusal
from services.score.model import Challenge, Wallet, WalletLimits, WalletState
from services.score.model.imports import BadLine, Line, ScoreFormat
from services.score.rules import runs as run_rules
from services.score.rules import wallets as rules
from services.score.rules.lines import MAX_LINE_BYTES, Lines
from services.score.rules.requests import read_largest_token

NOW = datetime(2026, 12, 3, 12, 0, 0, 123456, tzinfo=UTC)
LIMITS = WalletLimits(frozenset({1, 8453}), 10, 300, 30, 30)
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
OTHER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
RAW = bytes.fromhex(ADDRESS[2:])
ME, YOU = uuid.UUID(int=1), uuid.UUID(int=2)


def read(text: str | bytes, file_format: ScoreFormat = ScoreFormat.CSV, decimals: int = 0) -> list[Line | BadLine]:
    lines = Lines(file_format, decimals)
    raw = text if isinstance(text, bytes) else text.encode()
    return [*lines.feed(raw), *lines.end()]


def reasons(text: str | bytes, file_format: ScoreFormat = ScoreFormat.CSV, decimals: int = 0) -> list[str]:
    return [line.reason for line in read(text, file_format, decimals) if isinstance(line, BadLine)]


def test_the_text_to_sign_is_what_the_design_says() -> None:
    asked = rules.challenge(bytes(range(16)), ME, ADDRESS, 8453, NOW, LIMITS)
    assert rules.text_of(asked, "acme") == (
        "Link this wallet to my creator account. This signature moves no money and costs nothing.\n"
        "\n"
        "Action: link_wallet\n"
        "Account: acme\n"
        f"Wallet: {ADDRESS}\n"
        "Chain ID: 8453\n"
        "Nonce: 000102030405060708090a0b0c0d0e0f\n"
        "Issued At: 2026-12-03T12:00:00Z"
    )


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (None, "CHALLENGE_UNKNOWN"),
        (Challenge(b"n", YOU, ADDRESS, 1, NOW, NOW), "CHALLENGE_UNKNOWN"),
        (Challenge(b"n", ME, OTHER, 1, NOW, NOW), "CHALLENGE_OF_OTHER_WALLET"),
        (Challenge(b"n", ME, ADDRESS, 8453, NOW, NOW), "CHALLENGE_OF_OTHER_CHAIN"),
    ],
)
def test_a_challenge_is_good_for_what_it_was_made_for(challenge: Challenge | None, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        rules.check_challenge(challenge, ME, ADDRESS, 1)
    assert refused.value.reason == reason


def wallet(owner: uuid.UUID, unlinked: timedelta | None) -> Wallet:
    state = WalletState.LINKED if unlinked is None else WalletState.UNLINKED
    return Wallet(uuid.UUID(int=9), ADDRESS, owner, 1, state, b"", NOW, None if unlinked is None else NOW - unlinked, 1)


@pytest.mark.parametrize(
    ("found", "linked", "answer"),
    [
        (None, 0, False),
        (None, 10, "TOO_MANY_WALLETS"),
        (wallet(ME, None), 10, True),
        (wallet(YOU, None), 0, "WALLET_TAKEN"),
        (wallet(ME, timedelta(0)), 9, False),
        (wallet(ME, timedelta(0)), 10, "TOO_MANY_WALLETS"),
        (wallet(YOU, timedelta(days=30) - timedelta(microseconds=1)), 0, "WALLET_COOLING_DOWN"),
        (wallet(YOU, timedelta(days=30)), 0, False),
    ],
)
def test_a_wallet_belongs_to_one_account_and_then_to_nobody_for_a_while(
    found: Wallet | None, linked: int, answer: object
) -> None:
    assert linking(found, linked) == answer


def linking(found: Wallet | None, linked: int) -> object:
    try:
        return rules.check_linking(found, ME, linked, now=NOW, limits=LIMITS)
    except Refusal as refusal:
        return refusal.reason


@pytest.mark.parametrize("address", ["", "0x", "0x" + "0" * 40, ADDRESS.lower().upper(), "acme"])
def test_an_address_that_nobody_can_sign_for_is_refused(address: str) -> None:
    with pytest.raises(rules.WalletAddressInvalid):
        rules.check_address(address)


@pytest.mark.parametrize("signature", ["", "0x", "0x1", "0xzz", "0x" + "00" * 2100, "\u0660\u0661"])
def test_a_signature_that_is_not_hex_is_refused(signature: str) -> None:
    with pytest.raises(rules.WalletSignatureInvalid):
        rules.check_signature(signature)


@pytest.mark.parametrize("nonce", ["", "00" * 15, "00" * 17, "zz" * 16, " 0" * 16])
def test_a_nonce_is_sixteen_bytes(nonce: str) -> None:
    with pytest.raises(rules.WalletNonceInvalid):
        rules.check_nonce(nonce)


@pytest.mark.parametrize(
    ("score", "decimals", "whole"),
    [
        ("0", 0, 0),
        ("7", 0, 7),
        ("7", 14, 7 * 10**14),
        ("1946275.2767224018", 14, 194627527672240180000),
        ("1.50", 1, 15),
        ("007.10", 2, 710),
        ("1" + "0" * 30, 0, 10**30),
        ("1", 30, 10**30),
        ("0.000000000000000000000000000001", 30, 1),
    ],
)
def test_a_score_is_scaled_exactly(score: str, decimals: int, whole: int) -> None:
    assert read(f"address,score\n{ADDRESS},{score}", decimals=decimals) == [Line(2, RAW, whole)]


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        ("", "SCORE_INVALID"),
        ("-1", "SCORE_INVALID"),
        ("+1", "SCORE_INVALID"),
        ("1e3", "SCORE_INVALID"),
        ("1_000", "SCORE_INVALID"),
        (".5", "SCORE_INVALID"),
        ("5.", "SCORE_INVALID"),
        ("NaN", "SCORE_INVALID"),
        ("٣", "SCORE_INVALID"),
        ("1" * 41, "SCORE_INVALID"),
        ("1.23", "TOO_MANY_DECIMALS"),
        ("1" + "0" * 29 + "1", "SCORE_TOO_LARGE"),
    ],
)
def test_a_score_that_is_not_exact_is_refused(score: str, reason: str) -> None:
    assert reasons(f"address,score\n{ADDRESS},{score}", decimals=1) == [reason]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "JSON_NOT_AN_OBJECT"),
        ("{", "JSON_INVALID"),
        ("[" * 3000, "JSON_INVALID"),
        ('{"address": "%s", "score": 1.5}', "SCORE_NOT_EXACT"),
        ('{"address": "%s", "score": NaN}', "SCORE_NOT_EXACT"),
        ('{"address": "%s", "score": true}', "SCORE_MISSING"),
        ('{"address": "%s"}', "SCORE_MISSING"),
        ('{"score": 1}', "ADDRESS_MISSING"),
        ('{"address": 1, "score": 1}', "ADDRESS_MISSING"),
        ('{"address": "%s", "score": 1, "score": 2}', "JSON_KEY_TWICE"),
        ('{"address": "0x12", "score": 1}', "ADDRESS_INVALID"),
        ('{"address": "%s", "score": "' + "1" * MAX_LINE_BYTES + '"}', "LINE_TOO_LONG"),
    ],
)
def test_a_bad_line_of_json_is_named(line: str, reason: str) -> None:
    assert reasons(line.replace("%s", ADDRESS), ScoreFormat.JSON_LINES) == [reason]


def test_json_takes_strings_and_integers() -> None:
    rows = [{"address": ADDRESS, "score": "12.5", "name": "x"}, {"address": ADDRESS.lower(), "score": 3}]
    text = "\n".join(json.dumps(row) for row in rows)
    assert read(text, ScoreFormat.JSON_LINES, 1) == [Line(1, RAW, 125), Line(2, RAW, 30)]


def test_a_file_may_be_cut_anywhere() -> None:
    text = f'\ufeffname,Wallet_Address,weight\r\n"a, b",{ADDRESS},5\r\n\r\nx,{OTHER},6'.encode()
    wanted = [Line(2, RAW, 5), Line(4, bytes.fromhex(OTHER[2:]), 6)]
    for size in range(1, len(text) + 1):
        lines = Lines(ScoreFormat.CSV, 0)
        pieces = (text[start : start + size] for start in range(0, len(text), size))
        assert [line for piece in pieces for line in lines.feed(piece)] + list(lines.end()) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("who,what\n1,2\n3,4\n", ["HEADER_WITHOUT_ADDRESS_AND_SCORE"]),
        (f"address,score\n{ADDRESS}\n{ADDRESS},1,2\n", ["COLUMNS_DIFFER_FROM_HEADER"] * 2),
        (f'address,score\n"{ADDRESS},1\n', ["QUOTES_BROKEN"]),
        (b"address,score\n\xff\xfe,1\n", ["ADDRESS_INVALID"]),
        (f"address,score\n{ADDRESS.replace('A', 'a', 1)},1\n", ["ADDRESS_INVALID"]),
    ],
)
def test_a_bad_line_of_csv_is_named(text: str | bytes, wanted: list[str]) -> None:
    assert reasons(text) == wanted


def test_an_endless_line_is_one_bad_line_and_is_not_kept() -> None:
    lines = Lines(ScoreFormat.CSV, 0)
    found = [line for _ in range(100) for line in lines.feed(b"x" * 10_000)]
    assert found == []
    found = [*lines.feed(f"\naddress,score\n{ADDRESS},1".encode()), *lines.end()]
    assert [line.reason for line in found if isinstance(line, BadLine)] == ["LINE_TOO_LONG"]


@pytest.mark.parametrize(
    ("cadence", "now", "name"),
    [
        ("month", datetime(2027, 1, 1, tzinfo=UTC), "2026-12"),
        ("month", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "2026-11"),
        ("week", datetime(2027, 1, 4, tzinfo=UTC), "2026-W53"),
        ("week", datetime(2027, 1, 3, 23, 59, tzinfo=UTC), "2026-W52"),
    ],
)
def test_the_last_period_is_the_newest_that_is_over(cadence: str, now: datetime, name: str) -> None:
    assert run_rules.last_period(now, cadence).name == name


@pytest.mark.parametrize(("name", "cadence"), [("2026-11", "week"), ("2026-W47", "month")])
def test_periods_of_two_lengths_do_not_mix(name: str, cadence: str) -> None:
    with pytest.raises(run_rules.RunCadenceMismatch):
        run_rules.check_period(name, cadence)


@pytest.mark.parametrize(
    "terms", [(0, "1", "1"), (10**15 + 1, "1", "1"), (1, "", "1"), (1, "-1", "1"), (1, "1", "1" + "0" * 29 + "1")]
)
def test_terms_have_bounds(terms: tuple[int, str, str]) -> None:
    with pytest.raises(run_rules.RunTermsInvalid):
        run_rules.check_terms(*terms)


@pytest.mark.parametrize("token", ["x", "1", "1.x", ".", f".{ME.hex}", f"{10**18}.{ME.hex}"])
def test_a_token_that_no_answer_gave_is_refused(token: str) -> None:
    with pytest.raises(Refusal):
        read_largest_token(token)
