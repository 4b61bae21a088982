from typing import Annotated

import pytest
from msgspec import Meta, Struct

from gateway.problems import BodyInvalid, BodyMalformed, QueryInvalid
from gateway.reading import read_body, read_query, refuse_query
from gateway.schemas.boards import BoardQuery
from gateway.schemas.wire import Request


class Line(Request):
    amount: int


class Order(Request):
    name: Annotated[str, Meta(max_length=5)]
    lines: tuple[Line, ...] = ()


def test_a_body_is_read() -> None:
    assert read_body(b'{"name": "x", "lines": [{"amount": 1}]}', Order) == Order(name="x", lines=(Line(amount=1),))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is not JSON"), (b"{", "is not JSON"), (b"nope", "is not JSON"), (b'{"name": NaN}', "is not JSON"),
        (b'{"name": -Infinity}', "is not JSON"), (b"\xef\xbb\xbf{}", "is not JSON"),
        (b'{"name": "a" } x', "is not JSON"),
        (b'{"name": 01}', "is not JSON"), (b"{'name': 1}", "is not JSON"),
        (b'{"name": "a\nb"}', "is not JSON"),
        (b'{"name": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"name": "\xff"}', "UTF-8"), ('{"name": "é"}'.encode("utf-16"), "UTF-8"),
        (b'{"name": "a", "name": "b"}', "twice"), (b'{"name": "a", "lines": [{"amount": 1, "amount": 2}]}', "twice"),
        (b'{"name": "\\ud800"}', "half a character"), (b'{"\\udfff": 1}', "half a character"),
        (b"[" * 60_000, "too deeply"), (b"[" * 200 + b"]" * 200, "too deeply"),
        (b'{"name": ' + b'{"a":' * 60 + b"1" + b"}" * 61, "too deeply"),
    ],
)  # fmt: skip
def test_what_is_not_clean_json_is_malformed(raw: bytes, why: str) -> None:
    with pytest.raises(BodyMalformed, match=why):
        read_body(raw, Order)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b"[]", "#"), (b"1", "#"), (b"null", "#"), (b'"x"', "#"),
        (b"{}", "#/name"), (b'{"name": 1}', "#/name"), (b'{"name": null}', "#/name"), (b'{"name": "longer"}', "#/name"),
        (b'{"name": "x", "more": 1}', "#/more"), (b'{"name": "x", "a/b~c d": 1}', "#/a~1b~0c%20d"),
        (b'{"name": "x", "lines": {}}', "#/lines"), (b'{"name": "x", "lines": [1]}', "#/lines/0"),
        (b'{"name": "x", "lines": [{"amount": 1}, {"amount": 1.0}]}', "#/lines/1/amount"),
        (b'{"name": "x", "lines": [{"amount": 1e3}]}', "#/lines/0/amount"),
        (b'{"name": "x", "lines": [{"amount": true}]}', "#/lines/0/amount"),
        (b'{"name": "x", "lines": [{"amount": "1"}]}', "#/lines/0/amount"),
        (b'{"name": "x", "lines": [{}]}', "#/lines/0/amount"),
        (b'{"name": "x", "lines": [{"amount": 1, "tip": 1}]}', "#/lines/0/tip"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_shape_is_pointed_at(raw: bytes, pointer: str) -> None:
    with pytest.raises(BodyInvalid) as refused:
        read_body(raw, Order)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_an_endless_name_is_not_echoed() -> None:
    with pytest.raises(BodyInvalid) as refused:
        read_body(b'{"name": "x", "' + b"y" * 50_000 + b'": 1}', Order)
    assert len(refused.value.errors[0].pointer) < 200


def test_a_query_has_defaults() -> None:
    assert read_query([], BoardQuery) == BoardQuery(timeframe="weekly", limit=50, page_token=None)


@pytest.mark.parametrize(
    ("pairs", "pointer"),
    [
        ([("limit", text)], "?limit")
        for text in ("0", "101", "-1", "5e1", "5.0", "\u0665", "", " 5", "+5", "0x5", "1_0", "9" * 30, "true", "null")
    ]
    + [
        ([("limit", "5"), ("limit", "5")], "?limit"),
        ([("timeframe", "yearly")], "?timeframe"),
        ([("timeframe", "")], "?timeframe"),
        ([("page_token", "")], "?page_token"),
        ([("page_token", "\x00")], "?page_token"),
        ([("page_token", "\ufffd")], "?page_token"),
        ([("page_token", "x" * 1025)], "?page_token"),
        ([("page", "1")], "?page"),
        ([("a b&", "1")], "?a%20b%26"),
    ],
)
def test_a_query_is_as_strict_as_a_body(pairs: list[tuple[str, str]], pointer: str) -> None:
    with pytest.raises(QueryInvalid) as refused:
        read_query(pairs, BoardQuery)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_route_without_parameters_refuses_any() -> None:
    refuse_query([])
    with pytest.raises(QueryInvalid):
        refuse_query([("debug", "1")])


def test_requests_are_structs_that_refuse_what_they_do_not_know() -> None:
    assert issubclass(Request, Struct)
    assert all(kind.__struct_config__.forbid_unknown_fields for kind in (Request, Order, BoardQuery))
