"""Decisions of leaderboard: windows, order, streaks, names. All of it follows from the set of events alone."""

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.money import largest_remainder
from libs.refusals import InvalidArgument, Unavailable
from services.leaderboard.model import Earned, Place, Point, Timeframe, Window

BEGINNING: Final = date(1, 1, 1)
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 100
NEIGHBOURS: Final = 3
POINTS_MAX: Final = 400

_ACCOUNT_ID = re.compile(r"[ -~]{1,128}")
_DAY = timedelta(days=1)
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Fixed widths, so that the order of the texts is the order of the places: more referrals first, then more earned, then
# earlier, then the smaller surrogate.
_COUNT_MAX: Final = 10**13 - 1
_EARNED_MAX: Final = 10**19 - 1
_MEMBER = re.compile(r"(\d{13})(\d{19})(\d{18})([0-9a-f]{32})")

RESERVED: Final = frozenset({
    "admin", "administrator", "anonymous", "arrakis", "billing", "commons", "creator", "foundation", "moderator",
    "nowpayments", "official", "operator", "root", "staff", "support", "system", "treasury", "verified", "you",
})  # fmt: skip
# Cyrillic and Greek letters and digits that pass for Latin letters: a name all in Cyrillic may still read "admin".
_LOOK_ALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03bd\u03bf\u03b9\u03ba\u03c1\u03c4\u03c5\u03c7\u0251\u043c\u0438\u043d\u0442\u043a\u04400134578$@",
    "aeopcyxijshdqwabevoikptuxamuhtkpoleastbsa",
)
_JAPANESE: Final = {"CJK", "HIRAGANA", "KATAKANA"}
_PUNCTUATION: Final = " -_.'"
_NAME_LENGTHS: Final = range(3, 33)


class AccountIdInvalid(InvalidArgument):
    """An account id is 1 to 128 printable ASCII characters."""


class TimeframeInvalid(InvalidArgument):
    """A timeframe is daily, weekly, monthly or all_time."""


class BucketInvalid(InvalidArgument):
    """A bucket is a day, a week or a month."""


class PageSizeInvalid(InvalidArgument):
    """A page has 1 to 100 rows."""


class PageTokenInvalid(InvalidArgument):
    """This page token was not given out by this board."""


class PeriodInvalid(InvalidArgument):
    """A period ends after it begins and has at most 400 buckets."""


class AccountUnknown(Unavailable):
    """Referral did not name the account."""


class DisplayNameInvalid(InvalidArgument):
    """A display name has 3 to 32 letters of one script, digits, single spaces and - _ . ' within."""


class DisplayNameReserved(InvalidArgument):
    """This display name could pass for the platform, its staff or a pseudonym."""


def check_account_id(account_id: str) -> str:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise AccountIdInvalid(field="account_id")
    return account_id


def check_timeframe(number: int) -> Timeframe:
    if number not in set(Timeframe):
        raise TimeframeInvalid(field="timeframe")
    return Timeframe(number)


def check_page_size(size: int) -> int:
    """The rows of a page; 0 means the default."""
    if not 0 <= size <= PAGE_MAX:
        raise PageSizeInvalid(field="page_size")
    return size or PAGE_DEFAULT


def window_of(timeframe: Timeframe, instant: datetime) -> Window:
    """The window that an instant lies in; weeks begin on Monday (ISO 8601)."""
    day = instant.astimezone(UTC).date()
    match timeframe:
        case Timeframe.DAILY:
            return Window(timeframe, day)
        case Timeframe.WEEKLY:
            return Window(timeframe, day - day.weekday() * _DAY)
        case Timeframe.MONTHLY:
            return Window(timeframe, day.replace(day=1))
        case Timeframe.ALL_TIME:
            return Window(timeframe, BEGINNING)


def bounds_of(window: Window) -> tuple[datetime, datetime] | None:
    """The first instant of a window and the first one after it; None for all time."""
    match window.timeframe:
        case Timeframe.ALL_TIME:
            return None
        case Timeframe.DAILY:
            end = window.start + _DAY
        case Timeframe.WEEKLY:
            end = window.start + 7 * _DAY
        case Timeframe.MONTHLY:
            end = (window.start + 31 * _DAY).replace(day=1)
    return midnight(window.start), midnight(end)


def streak_on(run: tuple[date, int] | None, today: date) -> int:
    """The length of a run of days with a referral, if its last day is today or yesterday; else it is over."""
    if run is None or run[0] < today - _DAY:
        return 0
    return run[1]


def pseudonym(key: bytes, account_ref: UUID) -> str:
    """What is shown of a creator without a name: stable, and leading nowhere without the key."""
    digest = hashlib.blake2b(account_ref.bytes, key=key, digest_size=4).hexdigest()
    return f"0x{digest[:4]}…{digest[4:]}"


def parts_of(earned_micro: int, model: str, breakdown: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """A share divided among the models of an ensemble by what each cost, exactly; the whole of it for a single one."""
    if not breakdown:
        return ((model, earned_micro),)
    weights: dict[str, int] = {}
    for name, amount_micro in breakdown:
        weights[name] = weights.get(name, 0) + amount_micro
    return tuple(largest_remainder(earned_micro, weights).items())


def main_model(earned: Earned) -> str:
    """The model that a charge is counted under."""
    return earned.model or max(earned.parts, key=lambda part: (part[1], part[0]))[0]


def encode(place: Place) -> str:
    """A place as a text of fixed width, whose order is the order of the board."""
    return (
        f"{_COUNT_MAX - place.referral_count:013}{_EARNED_MAX - place.earned_micro:019}"
        f"{(place.reached_at - _EPOCH) // _MICROSECOND:018}{place.creator_ref.hex}"
    )


def decode(member: str) -> Place:
    """The place in such a text; raises ValueError where it is none."""
    match = _MEMBER.fullmatch(member)
    if match is None:
        raise ValueError("not a place")
    count, earned, reached, ref = match.groups()
    return Place(
        creator_ref=UUID(hex=ref),
        referral_count=_COUNT_MAX - int(count),
        earned_micro=_EARNED_MAX - int(earned),
        reached_at=_EPOCH + int(reached) * _MICROSECOND,
    )


def page_token(window: Window, last: Place) -> str:
    """Where the next page begins: after this place, in this window, even when a new day has begun."""
    text = f"{int(window.timeframe)}.{window.start.isoformat()}.{encode(last)}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_page_token(token: str, timeframe: Timeframe) -> tuple[Window, Place]:
    """Raises PageTokenInvalid for anything that `page_token` did not make for this timeframe."""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
        number, start, member = text.split(".")
        window, last = Window(Timeframe(int(number)), date.fromisoformat(start)), decode(member)
    except (binascii.Error, UnicodeError, ValueError, OverflowError):
        raise PageTokenInvalid(field="page_token") from None
    if window.timeframe is not timeframe or window != window_of(timeframe, midnight(window.start)):
        raise PageTokenInvalid(field="page_token")
    return window, last


def check_display_name(text: str) -> str:
    """A name as it may be shown; empty means none. Raises DisplayNameInvalid or DisplayNameReserved."""
    if not text:
        return ""
    if unicodedata.normalize("NFKC", text) != text or len(text) not in _NAME_LENGTHS or "  " in text:
        raise DisplayNameInvalid(field="display_name")
    if not (text[0].isalnum() and text[-1].isalnum() and _one_script(text)):
        raise DisplayNameInvalid(field="display_name")
    skeleton = re.sub(r"[^a-z0-9]", "", text.casefold().translate(_LOOK_ALIKES))
    if skeleton in RESERVED or text.casefold().startswith("0x"):
        raise DisplayNameReserved(field="display_name")
    return text


def _one_script(text: str) -> bool:
    """True where letters are of one script, and everything else is a digit, a plain mark or joins a letter."""
    scripts: set[str] = set()
    for letter in text:
        category = unicodedata.category(letter)
        if category[0] == "L":
            scripts.add(unicodedata.name(letter, "UNKNOWN").split()[0])
        elif not (letter in _PUNCTUATION or category in {"Mn", "Mc"} or letter in "0123456789"):
            return False
    return bool(scripts) and (len(scripts) == 1 or scripts <= _JAPANESE)


def check_period(start: datetime | None, end: datetime | None, now: datetime) -> tuple[date, date]:
    """The first day of a period and the first day after it."""
    first = start.astimezone(UTC).date() if start else BEGINNING
    last = (end or now).astimezone(UTC)
    after = last.date() if last == midnight(last.date()) else last.date() + _DAY
    if after <= first:
        raise PeriodInvalid(field="to_time")
    return first, after


def check_bucket(number: int) -> Timeframe:
    """The timeframe whose windows are the buckets: day, week or month."""
    if number not in {Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY}:
        raise BucketInvalid(field="bucket")
    return Timeframe(number)


def series(days: Iterable[tuple[date, int, int]], timeframe: Timeframe) -> list[Point]:
    """Days as (day, micro-USD, charges), oldest first, summed up by bucket; at most 400, else PeriodInvalid."""
    points: dict[date, Point] = {}
    for day, accrued_micro, charges in days:
        start = window_of(timeframe, midnight(day)).start
        before = points.get(start, Point(start, 0, 0))
        points[start] = Point(start, before.accrued_micro + accrued_micro, before.charges + charges)
    if len(points) > POINTS_MAX:
        raise PeriodInvalid(field="from_time")
    return list(points.values())


def midnight(day: date) -> datetime:
    """The first instant of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
