import base64
import unicodedata
import uuid
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from services.leaderboard.model import Place, Point, Run, Timeframe, Window
from services.leaderboard.rules import boards, names, windows
from services.leaderboard.rules.shares import Shares
from services.leaderboard.rules.tally import FactInvalid, Tally

ALL = Timeframe.ALL_TIME
KEY = b"a key of the tests, long enough"
ANN, BOB = (uuid.UUID(int=number) for number in (1, 2))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("instant", "daily", "weekly", "monthly"),
    [
        ("2026-03-04T00:00:00", "2026-03-04", "2026-03-02", "2026-03-01"),
        ("2026-03-01T23:59:59.999999", "2026-03-01", "2026-02-23", "2026-03-01"),
        ("2026-03-02T00:00:00", "2026-03-02", "2026-03-02", "2026-03-01"),
        # The first days of a year may lie in a week of the last one, its last days in week 1 of the next.
        ("2027-01-01T12:00:00", "2027-01-01", "2026-12-28", "2027-01-01"),
        ("2024-12-30T00:00:00", "2024-12-30", "2024-12-30", "2024-12-01"),
        ("2026-12-31T23:59:59.999999", "2026-12-31", "2026-12-28", "2026-12-01"),
        ("2028-02-29T12:00:00", "2028-02-29", "2028-02-28", "2028-02-01"),
    ],
)
def test_an_instant_lies_in_its_windows(instant: str, daily: str, weekly: str, monthly: str) -> None:
    starts = [windows.window_of(timeframe, at(instant)).start.isoformat() for timeframe in Timeframe]
    assert starts == [daily, weekly, monthly, "0001-01-01"]


def test_a_window_is_one_of_utc_wherever_the_instant_was_written_down() -> None:
    instant = datetime.fromisoformat("2026-03-02T01:00:00+02:00")
    assert windows.window_of(Timeframe.WEEKLY, instant).start == date(2026, 2, 23)


@pytest.mark.parametrize(
    ("timeframe", "start", "first", "after"),
    [
        (Timeframe.DAILY, "2026-12-31", "2026-12-31", "2027-01-01"),
        (Timeframe.WEEKLY, "2026-12-28", "2026-12-28", "2027-01-04"),
        (Timeframe.MONTHLY, "2026-02-01", "2026-02-01", "2026-03-01"),
        (Timeframe.MONTHLY, "2028-02-01", "2028-02-01", "2028-03-01"),
        (Timeframe.MONTHLY, "2026-12-01", "2026-12-01", "2027-01-01"),
        (Timeframe.MONTHLY, "2026-01-01", "2026-01-01", "2026-02-01"),
    ],
)
def test_a_window_ends_where_the_next_one_begins(timeframe: Timeframe, start: str, first: str, after: str) -> None:
    assert windows.bounds_of(Window(timeframe, date.fromisoformat(start))) == (at(first), at(after))


def test_all_time_has_no_bounds() -> None:
    assert windows.bounds_of(Window(ALL, windows.BEGINNING)) is None


@pytest.mark.parametrize(
    ("run", "today", "days"),
    [
        (None, "2026-03-10", 0),
        (("2026-03-10", "2026-03-10"), "2026-03-10", 1),
        (("2026-03-08", "2026-03-10"), "2026-03-10", 3),
        (("2026-03-08", "2026-03-09"), "2026-03-10", 2),  # yesterday: today is not over yet
        (("2026-03-01", "2026-03-08"), "2026-03-10", 0),  # a whole day without
        (("2026-02-27", "2026-03-01"), "2026-03-01", 3),  # across the end of a month
        (("2026-03-08", "2026-03-11"), "2026-03-10", 3),  # a clock that is ahead does not lengthen it
        (("2026-03-11", "2026-03-11"), "2026-03-10", 0),
    ],
)
def test_a_streak_lasts_until_today_or_yesterday(run: tuple[str, str] | None, today: str, days: int) -> None:
    newest = Run(*map(date.fromisoformat, run)) if run else None
    assert windows.streak_on(newest, date.fromisoformat(today)) == days


BOARD = [
    Place(ANN, 3, 0, at("2026-03-02T00:00:00")),
    Place(ANN, 2, 2**63 - 1, at("2026-03-02T00:00:00")),
    Place(ANN, 2, 501, at("2026-03-02T00:00:00")),
    Place(ANN, 2, 500, at("2026-03-01T00:00:00")),
    Place(ANN, 2, 500, at("2026-03-01T00:00:00.000001")),
    Place(BOB, 2, 500, at("2026-03-01T00:00:00.000001")),
    Place(ANN, 0, 9_007_199_254_740_993, at("2026-03-01T00:00:00")),  # 2^53 + 1: no double tells it from the next
    Place(ANN, 0, 9_007_199_254_740_992, at("2026-03-01T00:00:00")),
]


def test_the_order_of_the_bytes_is_the_order_of_the_board() -> None:
    members = [boards.encode(place) for place in BOARD]
    assert members == sorted(members)
    assert all(one != other for one, other in pairwise(members))
    assert {len(member) for member in members} == {40}


@pytest.mark.parametrize("place", BOARD)
def test_a_place_survives_its_bytes(place: Place) -> None:
    assert boards.decode(boards.encode(place)) == place


def test_a_page_token_leads_back_to_its_place_and_tells_nobody_whose() -> None:
    window = Window(Timeframe.WEEKLY, date(2026, 3, 2))
    token = boards.page_token(KEY, window, BOARD[0])
    assert boards.read_page_token(KEY, token, Timeframe.WEEKLY) == (window, BOARD[0])
    assert ANN.bytes not in base64.urlsafe_b64decode(token + "==")
    other = boards.page_token(KEY, window, BOARD[1])
    assert sum(one == another for one, another in zip(token, other, strict=True)) < 20


def hostile_tokens() -> list[str]:
    token = boards.page_token(KEY, Window(Timeframe.WEEKLY, date(2026, 3, 2)), BOARD[0])
    changed = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    stranger = boards.page_token(b"another key of the tests", Window(Timeframe.WEEKLY, date(2026, 3, 2)), BOARD[0])
    return [changed, stranger, token[:-1], token + "A", "", "x", "=" * 82, "é" * 82, "\x00" * 82, "A" * 82, "A" * 10**6]


@pytest.mark.parametrize("token", hostile_tokens())
def test_a_page_token_of_nobodys_making_is_refused(token: str) -> None:
    with pytest.raises(boards.PageTokenInvalid):
        boards.read_page_token(KEY, token, Timeframe.WEEKLY)


def test_a_page_token_is_of_one_board() -> None:
    token = boards.page_token(KEY, Window(Timeframe.WEEKLY, date(2026, 3, 2)), BOARD[0])
    with pytest.raises(boards.PageTokenInvalid):
        boards.read_page_token(KEY, token, Timeframe.DAILY)


def test_a_pseudonym_is_stable_and_needs_the_key() -> None:
    assert boards.pseudonym(KEY, ANN) == boards.pseudonym(KEY, ANN)
    assert boards.pseudonym(KEY, ANN) != boards.pseudonym(KEY, BOB)
    assert boards.pseudonym(KEY, ANN) != boards.pseudonym(b"another key of the tests", ANN)
    assert len(boards.pseudonym(KEY, ANN)) == len("0x12ab…9f3c")


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (100, 100)])
def test_a_page_has_up_to_a_hundred_rows(asked: int, size: int) -> None:
    assert boards.check_page_size(asked) == size


@pytest.mark.parametrize("asked", [-1, 101, 2**31 - 1])
def test_a_page_of_another_size_is_refused(asked: int) -> None:
    with pytest.raises(boards.PageSizeInvalid):
        boards.check_page_size(asked)


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "Ann of Cleves",
        "O'Neill",
        "x" * 32,
        "J. R. Tolkien",
        "Systematic",
        "Oxford",
        "agent 47",
        "Łukasz",
        "Zoë",
        "Nguyễn",
        "Дмитрий",
        "Ελένη",
        "ศรีสมร",
        "देवनागरी",
        "田中さん",
        "キャサリン",
        "김철수",
        "محمد",
        "Badminton",
        "Bottega",
    ],
)
def test_a_name_may_be(name: str) -> None:
    assert names.check_display_name(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Zoe\u0308", "Zo\u00eb"),
        ("\uff21\uff4e\uff4e\uff11", "Ann1"),
        ("Ann\u00a0B", "Ann B"),
        ("", ""),
        ("\ufb01ne", "fine"),
    ],
)
def test_a_name_is_kept_in_one_spelling(typed: str, kept: str) -> None:
    assert names.check_display_name(typed) == kept


INVALID = {
    "too short": "ab",
    "too long": "x" * 33,
    "long once it is normalized": "\ufdfa\ufdfa",
    "endless": "x" * 10**6,
    "no letter": "1337",
    "punctuation alone": "...",
    "leading space": " Ann",
    "trailing space": "Ann ",
    "two spaces": "Ann  B",
    "trailing dot": "Ann.",
    "trailing dot and space": "Ann. ",
    "dot first": ". Ann",
    "dots and spaces": "Ann . . B",
    "new line": "Ann\nB",
    "tab": "Ann\tB",
    "null": "Ann\x00B",
    "C1 control": "Ann\x85B",
    "escape": "Ann\x1b[31m",
    "zero-width space": "An\u200bn",
    "zero-width joiner": "An\u200dn",
    "word joiner": "An\u2060n",
    "byte order mark": "\ufeffAnn",
    "soft hyphen": "An\u00adn",
    "right-to-left override": "Ann\u202eB",
    "isolate": "\u2066Ann\u2069",
    "tag characters": "Ann\U000e0041",
    "variation selector": "Ann\ufe0f",
    "combining grapheme joiner": "An\u034fn",
    "Hangul filler": "\u3164\u3164\u3164",
    "Hangul filler within": "김\u1160수미",
    "Khmer inherent vowel": "ក\u17b4ក",
    "line separator": "Ann\u2028B",
    "braille blank": "Ann\u2800B",
    "Ogham space": "Ann\u1680B",
    "private use": "Ann\ue000",
    "unassigned": "Ann\u0378",
    "lone surrogate": "Ann\ud800",
    "emoji": "Ann 🎉",
    "enclosing mark": "Ann\u20dd",
    "stacked marks": "A\u0335\u0336nn",
    "mark first": "\u0301Ann",
    "mark on a digit": "Ann1\u0338",
    "Cyrillic a in Latin": "\u0410nn",
    "Greek omicron in Latin": "B\u03bfb",
    "Armenian in Latin": "B\u0585b",
    "Latin in Japanese": "さnさ",
    "letter apostrophe": "O\u02bcNeill",
    "Arabic digits": "Ann\u0661",
    "Bengali four for an eight": "Ann\u09ea",
    "markup": "<b>Ann</b>",
    "at sign": "@Ann",
    "small capitals": "\u1d00\u1d05\u1d0d\u026a\u0274",
    "slash": "Ann/B",
    "Cherokee": "\u13aa\u13a5\u13a2",
}


@pytest.mark.parametrize("name", INVALID.values(), ids=INVALID.keys())
def test_a_name_that_hides_or_pretends_is_invalid(name: str) -> None:
    with pytest.raises(names.DisplayNameInvalid):
        names.check_display_name(name)


RESERVED = [
    "admin",
    "Admin",
    "ADMIN",
    "a.d.m.i.n",
    "adm1n",
    "àdmin",
    "Site Admin",
    "admin-bob",
    "Admin42",
    "Support",
    "supp0rt",
    "Arrakis",
    "Arrakis Help",
    "ArrakisTeam",
    "4rr4kis",
    "The Official Ann",
    "moderator9",
    "you",
    "deleted",
    "0x12ab",
    "0x12ab...9f3c",
    "0X12AB",
    "0xAnn",
    "Ox12ab",
    "Ox-12-ab",
    "0\u04451234...5678",  # a Cyrillic letter
    "\u041e\u04451234",  # all Cyrillic
    "ѕуѕтем",  # "system", all in Cyrillic
    "\u0455taff",
    "rnod",  # read as "mod"
    "\u0410\u0434\u043c\u0438\u043d",  # "admin" in Russian
    "\u0410\u0414\u041c\u0406\u041d",  # and in Ukrainian
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_passes_for_the_platform_or_a_pseudonym_is_refused(name: str) -> None:
    with pytest.raises((names.DisplayNameReserved, names.DisplayNameInvalid)):
        names.check_display_name(name)


@pytest.mark.parametrize("name", ["Arrakis", "\u0455\u0443\u0455\u0442\u0435\u043c", "0x12ab", "\u041e\u04451234"])
def test_a_reserved_name_says_so(name: str) -> None:
    with pytest.raises(names.DisplayNameReserved):
        names.check_display_name(name)


def test_no_pseudonym_can_be_taken_for_a_name() -> None:
    for number in range(500):
        with pytest.raises((names.DisplayNameReserved, names.DisplayNameInvalid)):
            names.check_display_name(boards.pseudonym(KEY, uuid.UUID(int=number)))


def test_the_count_of_referrals_was_reached_by_the_newest_of_them_whichever_came_first() -> None:
    forth, back = Tally(), Tally()
    instants = [at(f"2026-03-02T0{hour}:00:00") for hour in (1, 2, 3)]
    for one, other in zip(instants, reversed(instants), strict=True):
        forth.refer(ANN, one)
        back.refer(ANN, other)
    assert forth.rises() == back.rises()
    assert {rise.referred_at for rise in forth.rises()} == {at("2026-03-02T03:00:00")}
    assert forth.referral_days() == {ANN: {date(2026, 3, 2)}}


@pytest.mark.parametrize(
    ("model", "parts", "accruals"),
    [
        ("m", [], {"m": (1, 100)}),
        ("", [("a", 1), ("b", 2)], {"a": (0, 33), "b": (1, 67)}),
        ("a", [("a", 1), ("b", 2)], {"a": (1, 33), "b": (0, 67)}),
        ("ensemble", [("a", 1), ("b", 2)], {"a": (0, 33), "b": (1, 67)}),
        ("m", [("a", 0), ("b", 0)], {"m": (1, 100)}),
        ("a", [("a", 1), ("a", 1)], {"a": (1, 100)}),
    ],
)
def test_a_share_is_divided_among_models_and_counted_once(
    model: str, parts: list[tuple[str, int]], accruals: dict[str, tuple[int, int]]
) -> None:
    shares = Shares()
    shares.earn(str(ANN), str(BOB), 7, 100, model, parts)
    creators, referees, models, charges, micros, instants = shares.columns
    assert {name: (count, micro) for name, count, micro in zip(models, charges, micros, strict=True)} == accruals
    assert {*creators, *referees, *instants} == {str(ANN), str(BOB), 7}


def test_a_fact_that_cannot_be_is_not_counted() -> None:
    tally, shares = Tally(), Shares()
    for share_micro, at_us, parts in ((-1, 0, []), (-1, 0, [("a", 1)]), (1, -1, []), (1, 253_402_300_800_000_000, [])):
        with pytest.raises(FactInvalid):
            shares.earn(str(ANN), str(BOB), at_us, share_micro, "m", parts)
    with pytest.raises(FactInvalid):
        tally.refer(ANN, at("1969-12-31T23:59:59"))
    with pytest.raises(FactInvalid):
        tally.reverse(str(ANN), date(2026, 3, 4), -1)
    with pytest.raises(ValueError, match="UUID"):
        tally.reverse("nobody", date(2026, 3, 4), 1)
    assert not tally.rises()
    assert not len(shares)


def test_a_series_sums_days_into_buckets() -> None:
    days = [Point(date(2026, 12, 28), 1, 1, 1), Point(date(2027, 1, 1), 2, 1, 2), Point(date(2027, 1, 4), 4, 2)]
    assert windows.series(days, Timeframe.WEEKLY) == [Point(date(2026, 12, 28), 3, 2, 3), Point(date(2027, 1, 4), 4, 2)]
    assert windows.series(days, Timeframe.MONTHLY) == [
        Point(date(2026, 12, 1), 1, 1, 1),
        Point(date(2027, 1, 1), 6, 3, 2),
    ]


def test_a_series_has_at_most_four_hundred_points() -> None:
    days = [Point(date(2026, 1, 1) + timedelta(days=number), 1, 1) for number in range(401)]
    assert len(windows.series(days[:400], Timeframe.DAILY)) == 400
    with pytest.raises(windows.SeriesPeriodInvalid):
        windows.series(days, Timeframe.DAILY)


NOW = at("2026-03-10T15:00:00")


@pytest.mark.parametrize(
    ("start", "end", "first", "after"),
    [
        (None, None, "0001-01-01", "2026-03-11"),
        ("2026-03-01T00:00:00", "2026-03-02T00:00:00", "2026-03-01", "2026-03-02"),
        ("2026-03-01T10:00:00", "2026-03-02T00:00:01", "2026-03-01", "2026-03-03"),
    ],
)
def test_a_period_is_of_whole_days(start: str | None, end: str | None, first: str, after: str) -> None:
    period = windows.check_period(at(start) if start else None, at(end) if end else None, NOW)
    assert [str(day) for day in period] == [first, after]


def test_a_period_does_not_end_before_it_begins() -> None:
    with pytest.raises(windows.SeriesPeriodInvalid):
        windows.check_period(at("2026-03-02T00:00:00"), at("2026-03-02T00:00:00"), NOW)
