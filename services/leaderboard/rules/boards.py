"""The order of a board, its pages, and who is who on it."""

import base64
import hashlib
import hmac
import re
import struct
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, Unavailable
from services.leaderboard.model import Place, Timeframe, Window

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 100
NEIGHBOURS: Final = 3

_ACCOUNT_ID = re.compile(r"[ -~]{1,128}")
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BIGINT_MAX: Final = 2**63 - 1
_STANDING = struct.Struct(">QQQ")
_REF_BYTES: Final = 16
_TOKEN = struct.Struct(">BI40s")
_MAC_BYTES: Final = 16
_TOKEN_CHARS: Final = 82


class CreatorIdInvalid(InvalidArgument):
    """The account id of a creator is 1 to 128 printable ASCII characters."""


class PageSizeInvalid(InvalidArgument):
    """A page has 1 to 100 rows."""


class PageTokenInvalid(InvalidArgument):
    """This page token was not given out by this board."""


class CreatorUnknown(Unavailable):
    """Referral did not name the account."""


def check_account_id(account_id: str) -> str:
    """Raises CreatorIdInvalid."""
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise CreatorIdInvalid(field="account_id")
    return account_id


def check_page_size(size: int) -> int:
    """The rows of a page; 0 means the default."""
    if not 0 <= size <= PAGE_MAX:
        raise PageSizeInvalid(field="page_size")
    return size or PAGE_DEFAULT


def pseudonym(key: bytes, account_ref: UUID) -> str:
    """What is shown of a creator without a name: stable, and leading nowhere without the key."""
    digest = hashlib.blake2b(account_ref.bytes, key=key, digest_size=4).hexdigest()
    return f"0x{digest[:4]}…{digest[4:]}"


def standing(place: Place) -> bytes:
    """A place without its owner: 24 bytes whose order is the order of the board.

    More referrals first, then more earned, then earlier; a board needs all 192 bits, a double has 53.
    """
    reached_us = (place.reached_at - _FIRST) // _MICROSECOND
    return _STANDING.pack(_BIGINT_MAX - place.referral_count, _BIGINT_MAX - place.earned_micro, reached_us)


def encode(place: Place) -> bytes:
    """The whole place: its standing, then the surrogate, so that no two are equal."""
    return standing(place) + place.creator_ref.bytes


def decode(member: bytes) -> Place:
    """The place in 40 such bytes."""
    count, earned, reached_us = _STANDING.unpack_from(member)
    return Place(
        creator_ref=UUID(bytes=member[_STANDING.size :]),
        referral_count=_BIGINT_MAX - count,
        earned_micro=_BIGINT_MAX - earned,
        reached_at=_FIRST + reached_us * _MICROSECOND,
    )


def page_token(key: bytes, window: Window, last: Place) -> str:
    """Where the next page begins: after this place, in this window, even when a new day has begun.

    Sealed, because it holds a surrogate and an instant that are nobody's business: the MAC of what it says is also the
    nonce of the stream that hides it (the construction of SIV, RFC 5297, on BLAKE2b).
    """
    text = _TOKEN.pack(int(window.timeframe), window.start.toordinal(), encode(last))
    mac = _mac(key, text)
    return base64.urlsafe_b64encode(mac + _hidden(key, mac, text)).decode().rstrip("=")


def read_page_token(key: bytes, token: str, timeframe: Timeframe) -> tuple[Window, Place]:
    """Raises PageTokenInvalid for anything that `page_token` did not make for this timeframe."""
    if len(token) != _TOKEN_CHARS or not token.isascii():
        raise PageTokenInvalid(field="page_token")
    try:
        sealed = base64.b64decode(token + "==", altchars=b"-_", validate=True)
    except ValueError:
        raise PageTokenInvalid(field="page_token") from None
    mac = sealed[:_MAC_BYTES]
    text = _hidden(key, mac, sealed[_MAC_BYTES:])
    if not hmac.compare_digest(mac, _mac(key, text)):
        raise PageTokenInvalid(field="page_token")
    number, start, member = _TOKEN.unpack(text)
    if number != timeframe:
        raise PageTokenInvalid(field="page_token")
    return Window(timeframe, date.fromordinal(start)), decode(member)


def _mac(key: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(text, key=key, person=b"page token mac", digest_size=_MAC_BYTES).digest()


def _hidden(key: bytes, mac: bytes, text: bytes) -> bytes:
    stream = hashlib.blake2b(mac, key=key, person=b"page token text").digest()
    return bytes(one ^ other for one, other in zip(text, stream, strict=False))
