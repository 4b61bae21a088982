"""Signatures of callbacks and codes of the second factor, against the published vectors."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payout.provider.canonical import Unreadable, canonical, number, parse
from services.payout.provider.signatures import sign, verified
from services.payout.provider.totp import code_at, normalised

FILE = json.loads((Path(__file__).parents[1] / "data" / "nowpayments_ipn_signatures.json").read_text(encoding="utf-8"))
SECRET: str = FILE["secret"]
VECTORS: list[dict[str, Any]] = FILE["vectors"]
ACCEPTED = ("sig", "sig_over_raw_body", "sig_arrays_as_objects")
REFUSED = ("sig_python_doc_sample", "sig_legacy_replacer")
V4 = next(each for each in VECTORS if each["name"].startswith("V4"))
TORTURE = "V5"


def raw(vector: dict[str, Any]) -> bytes:
    return str(vector["body"]).encode("utf-8")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: str(each["name"])[:3])
def test_what_the_provider_signs_is_accepted_and_what_its_samples_sign_is_not(vector: dict[str, Any]) -> None:
    # Integers that JavaScript cannot hold have one signature and two meanings: such a body is not accepted.
    whole = not vector["name"].startswith(TORTURE)
    wanted = {vector[name] for name in ACCEPTED if name in vector}
    for signature in wanted:
        assert (verified(raw(vector), signature, [SECRET]) is not None) is whole
        assert (verified(raw(vector), signature.upper(), [SECRET]) is not None) is whole
    for name in REFUSED:
        if name in vector and vector[name] not in wanted:
            assert verified(raw(vector), vector[name], [SECRET]) is None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: str(each["name"])[:3])
def test_the_canonical_form_is_javascripts(vector: dict[str, Any]) -> None:
    expected = vector["body"] if vector["canonical"] == "= body" else vector["canonical"]
    assert canonical(json.loads(vector["body"])) == expected
    assert sign(expected.encode(), SECRET) == vector["sig"]


def test_another_body_or_key_is_another_signature() -> None:
    tampered = raw(V4).replace(b"19.66923", b"19.66924")
    assert verified(tampered, V4["sig"], [SECRET]) is None
    assert verified(raw(V4), V4["sig"], ["other-secret"]) is None
    assert sign(V4["canonical"].encode(), "other-secret").startswith("8174f27e8f886355")
    assert verified(raw(V4), V4["sig"], [SECRET + "\n"]) is not None


def test_without_a_secret_nothing_is_accepted() -> None:
    for secrets in ([], [""], [" "], ["", "\n"]):
        assert verified(raw(V4), V4["sig"], secrets) is None
        assert verified(raw(V4), sign(raw(V4), ""), secrets) is None


def test_either_of_two_secrets_is_accepted_while_they_rotate() -> None:
    assert verified(raw(V4), V4["sig"], ["new", SECRET]) is not None


@pytest.mark.parametrize("signature", ["", "0" * 127, "0" * 129, "g" * 128, V4["sig"] + "\n", " " + V4["sig"]])
def test_a_header_that_is_no_signature_is_refused(signature: str) -> None:
    assert verified(raw(V4), signature, [SECRET]) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":9007199254740993}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"\\ud800":1}',
        b"\xff",
        b'{"a":' * 50 + b"1" + b"}" * 50,
        b"[" * 100_000,
    ],
)
def test_a_body_with_two_meanings_is_refused_however_it_is_signed(body: bytes) -> None:
    assert verified(body, sign(body, SECRET), [SECRET]) is None
    with pytest.raises(Unreadable):
        parse(body)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1e+21"), (1e20, "100000000000000000000"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1.5e-7, "1.5e-7"),
        (-0.0, "0"), (0.1 + 0.2, "0.30000000000000004"), (100.0, "100"), (-12.5, "-12.5"), (123e-20, "1.23e-18"),
        (1.7976931348623157e308, "1.7976931348623157e+308"), (5e-324, "5e-324"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_javascript_writes_them(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(number(value)) == value


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
))  # fmt: skip
def test_a_canonical_body_is_its_own_canonical_form(inner: Any) -> None:
    text = canonical({"body": inner})
    assert canonical(parse(text.encode())) == text


@pytest.mark.parametrize(
    ("second", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_codes_are_those_of_the_standard(second: int, code: str) -> None:
    assert code_at("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", datetime.fromtimestamp(second, UTC)) == code


def test_a_secret_may_be_written_for_people() -> None:
    shown = "jbsw y3dp ehpk 3px"
    assert normalised(shown) == "JBSWY3DPEHPK3PX="
    codes = [code_at(shown, datetime.fromtimestamp(1764000000 + extra, UTC)) for extra in (0, 29, 30)]
    assert codes == ["722926", "722926", "948010"]
