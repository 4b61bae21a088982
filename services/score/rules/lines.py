"""Files of scores, line by line. One bad line refuses a file, so every one of them is named."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from libs.ethereum import NotAnAddress, checksummed
from libs.nesting import shallow
from services.score.model.imports import MAX_SCORE, BadLine, Line, ScoreFormat

MAX_LINE_BYTES: Final = 4096
_TEXT_MAX: Final = 200
_ADDRESS_COLUMNS: Final = ("address", "wallet_address", "wallet")
_SCORE_COLUMNS: Final = ("score", "weight", "balance")
_SCORE: Final = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)
_LOWER: Final = re.compile(r"0x[0-9a-f]{40}")


class _Bad(Exception):
    """What is wrong with a line, as a reason."""


Fields = tuple[str, str]
Reader = Callable[[str], Fields]


class Lines:
    """Reads a file that comes in pieces, cut anywhere; keeps no more of it than an unfinished line."""

    def __init__(self, file_format: ScoreFormat, decimals: int) -> None:
        self._decimals = decimals
        self._reader: Reader | None = _read_json if file_format is ScoreFormat.JSON_LINES else None
        self._rest = b""
        self.number = 0
        """Lines read so far, empty ones too."""

    def feed(self, piece: bytes) -> Iterator[Line | BadLine]:
        """The lines that this piece completes."""
        self._rest += piece
        *whole, self._rest = self._rest.split(b"\n")
        for raw in whole:
            yield from self._read(raw)
        if len(self._rest) > MAX_LINE_BYTES:
            # The rest of an endless line is not kept; it stays one bad line.
            self._rest = self._rest[: MAX_LINE_BYTES + 1]

    def end(self) -> Iterator[Line | BadLine]:
        """The last line, where the file does not end with a line break."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._read(rest)

    def _read(self, raw: bytes) -> Iterator[Line | BadLine]:
        self.number += 1
        raw = raw.removesuffix(b"\r")
        if self.number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            return
        text = raw[:MAX_LINE_BYTES].decode("utf-8", errors="replace")
        try:
            line = self._line(text, len(raw))
        except _Bad as bad:
            yield BadLine(self.number, str(bad), _shown(text))
        else:
            if line is not None:
                yield line

    def _line(self, text: str, length: int) -> Line | None:
        """A line of scores; None for the header of a CSV file."""
        if length > MAX_LINE_BYTES:
            raise _Bad("LINE_TOO_LONG")
        if self._reader is None:
            # Without a header nothing else can be told of the lines below: that is one fault, not one a line.
            self._reader = _no_columns
            self._reader = _csv_reader(text)
            return None
        if self._reader is _no_columns:
            return None
        address, score = self._reader(text)
        return Line(self.number, _address(address), _score(score, self._decimals))


def _no_columns(text: str) -> Fields:
    raise AssertionError(text)


def _csv_reader(header: str) -> Reader:
    names = [name.strip().lower() for name in _cells(header)]
    places = [
        next((names.index(each) for each in wanted if each in names), -1)
        for wanted in (_ADDRESS_COLUMNS, _SCORE_COLUMNS)
    ]
    if -1 in places:
        raise _Bad("HEADER_WITHOUT_ADDRESS_AND_SCORE")
    return partial(_read_csv, len(names), places[0], places[1])


def _read_csv(width: int, address: int, score: int, text: str) -> Fields:
    cells = _cells(text)
    if len(cells) != width:
        raise _Bad("COLUMNS_DIFFER_FROM_HEADER")
    return cells[address].strip(), cells[score].strip()


def _cells(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        raise _Bad("QUOTES_BROKEN") from None


def _read_json(text: str) -> Fields:
    try:
        found = json.loads(shallow(text), parse_float=_fraction, parse_constant=_fraction, object_pairs_hook=_once)
    except ValueError:
        raise _Bad("JSON_INVALID") from None
    if not isinstance(found, dict):
        raise _Bad("JSON_NOT_AN_OBJECT")
    address, score = found.get("address"), found.get("score")
    if not isinstance(address, str):
        raise _Bad("ADDRESS_MISSING")
    if type(score) is int:
        score = str(score)
    if not isinstance(score, str):
        raise _Bad("SCORE_MISSING")
    return address, score


def _fraction(_text: str) -> None:
    # Who writes a fraction as a JSON number has sent it through a float somewhere.
    raise _Bad("SCORE_NOT_EXACT")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Bad("JSON_KEY_TWICE")
    return found


def _address(text: str) -> bytes:
    if not _LOWER.fullmatch(text):
        try:
            checksummed(text)
        except NotAnAddress:
            raise _Bad("ADDRESS_INVALID") from None
    return bytes.fromhex(text[2:])


def _score(text: str, decimals: int) -> int:
    matched = _SCORE.fullmatch(text)
    if matched is None:
        raise _Bad("SCORE_INVALID")
    fraction = (matched[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise _Bad("TOO_MANY_DECIMALS")
    score: int = int(matched[1]) * 10**decimals + int(fraction.ljust(decimals, "0") or "0")
    if score > MAX_SCORE:
        raise _Bad("SCORE_TOO_LARGE")
    return score


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_TEXT_MAX])
