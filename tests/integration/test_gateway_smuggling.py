"""Requests that two readers could take for different ones: each is refused, and nothing after it is read."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.gateways import opened

POST = b"POST /api/referrals/register HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
AMBIGUOUS = {
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 37\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length with a stroke": POST + b"Content-Length: 0_2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked, then not": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two headers": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": POST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lines that end with LF alone": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "a CR within a header": b"GET /healthz HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "a NUL within a header": b"GET /healthz HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a negative chunk": CHUNKED + b"-1\r\n{}\r\n0\r\n\r\n",
    "a chunk of 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all numbers": CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a chunk that LF ends": CHUNKED + b"2\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "a line break in a chunk's extension": CHUNKED + b'2;a="\n"\r\n{}\r\n0\r\n\r\n',
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "twenty thousand headers": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
}


async def test_what_is_ambiguous_is_refused_and_hides_no_second_request(tmp_path: Path, redis_url: str) -> None:
    async with opened(tmp_path / "clock", redis_url) as client:
        for name, raw in AMBIGUOUS.items():
            said = await _said(client.port, raw + HIDDEN)
            head, _, body = said.partition(b"\r\n\r\n")
            assert head.split(b" ")[1] in {b"400", b"431"}, name
            assert json.loads(body)["code"] in {"REQUEST_MALFORMED", "HEADERS_TOO_LARGE"}, name


@pytest.mark.parametrize("header", [b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /api/admin/rules"])
async def test_no_header_makes_another_request_of_it(tmp_path: Path, redis_url: str, header: bytes) -> None:
    async with opened(tmp_path / "clock", redis_url) as client:
        last = HIDDEN[:-2] + b"Connection: close\r\n\r\n"
        said = await _said(client.port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n" + last)
        assert said.count(b"HTTP/1.1 200 OK") == 2


async def test_nothing_is_upgraded_to_and_the_connection_ends(tmp_path: Path, redis_url: str) -> None:
    asked = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
    async with opened(tmp_path / "clock", redis_url) as client:
        said = await _said(client.port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + asked + b"\r\n\r\n" + HIDDEN)
        assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 200 OK") == 1


async def _said(port: int, raw: bytes) -> bytes:
    """All that is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(8):
        said = await reader.read()
    writer.close()
    return said
