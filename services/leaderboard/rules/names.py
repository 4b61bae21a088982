"""What a creator may be called: no name that hides characters, reads as another's, or passes for the platform."""

import re
import unicodedata
from itertools import pairwise
from typing import Final

from libs.refusals import InvalidArgument

_LENGTHS: Final = range(3, 33)
_TYPED_MAX: Final = 128
_JOINS: Final = frozenset(" -_.'")
_DIGITS: Final = frozenset("0123456789")

# Letters and marks by their category that are shown as nothing at all (Default_Ignorable_Code_Point).
_INVISIBLE: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0",
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))  # fmt: skip

# The scripts of Unicode's recommended identifiers (UAX 31, table 5), by the first word of their characters' names.
_SCRIPTS: Final = frozenset({
    "LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "HEBREW", "ARABIC", "THAANA", "DEVANAGARI", "BENGALI", "GURMUKHI",
    "GUJARATI", "ORIYA", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO", "TIBETAN", "MYANMAR",
    "GEORGIAN", "HANGUL", "ETHIOPIC", "KHMER", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "BOPOMOFO",
})  # fmt: skip
_MIXTURES: Final = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)

# As a whole word, or as the whole name, they pass for the platform or its staff.
_RESERVED: Final = (
    "admin", "admins", "anonymous", "billing", "bot", "commons", "creator", "deleted", "foundation", "me", "mod",
    "none", "null", "operator", "other", "payout", "payouts", "root", "security", "staff", "support", "system", "team",
    "treasury", "undefined", "unknown", "verified", "you",
)  # fmt: skip
# These do so wherever they stand.
_RESERVED_ANYWHERE: Final = (
    "administrator", "arrakis", "moderator", "nowpayments", "official", "админ", "адмін", "модератор", "поддержка",
)  # fmt: skip

# Cyrillic and Greek letters that pass for Latin ones, in lower case: a name all in Cyrillic may still read as Latin.
_FOREIGN: Final = (
    dict(zip("аеорсухіјѕһԁԛԝвгкмнтпиѵҽӏьү", "aeopcyxijshdqwbrkmhtnuvelby", strict=True))
    | dict(zip("αβγεζηικμνορτυχωϲϳ", "abyeznikmvoptuxwcj", strict=True))
    | dict(zip("ıɑɡɩłøđħŧ", "iagilodht", strict=True))
)  # fmt: skip
# Digits that read as letters, and letters that read as each other: "supp0rt", "officia1", "adm1n", "rnod".
_FOLDED: Final = str.maketrans("013457i", "oleastl")
_PAIRS: Final = (("rn", "m"), ("vv", "w"))
_POSING: Final = re.compile(r"[0o]x[0-9a-fol]{4}")


class DisplayNameInvalid(InvalidArgument):
    """A display name has 3 to 32 letters of one script, digits, single spaces and - _ . ' within."""


class DisplayNameReserved(InvalidArgument):
    """This display name could pass for the platform, its staff or a pseudonym."""


def check_display_name(text: str) -> str:
    """A name as it is kept and shown, in NFKC; empty means none. Raises DisplayNameInvalid or DisplayNameReserved."""
    if not text:
        return ""
    if len(text) > _TYPED_MAX:
        raise DisplayNameInvalid(field="display_name")
    name = unicodedata.normalize("NFKC", text)
    if len(name) not in _LENGTHS or not _well_formed(name) or not _one_script(name):
        raise DisplayNameInvalid(field="display_name")
    if _reserved(name):
        raise DisplayNameReserved(field="display_name")
    return name


def _well_formed(name: str) -> bool:
    """Letters, ASCII digits, visible marks (one at a time on Latin, Greek and Cyrillic) and single joins within."""
    # An initial's dot is the one join that another may follow: "J. R. Tolkien".
    kinds = [_kind(letter) for letter in name.replace(". ", " ")]
    if None in kinds or kinds[0] in {"join", "mark"} or kinds[-1] == "join" or "letter" not in kinds:
        return False
    # A mark on a digit or a join, a second mark of the kind that goes on any letter, two joins in a row.
    refused = {("join", "mark"), ("digit", "mark"), ("mark", "mark"), ("join", "join")}
    return not any(pair in refused for pair in pairwise(kinds))


def _kind(letter: str) -> str | None:
    if letter in _JOINS:
        return "join"
    if letter in _DIGITS:
        return "digit"
    category = unicodedata.category(letter)
    name = unicodedata.name(letter, "")
    # Small capitals are signs of phonetics; in names they spell what would be refused in letters.
    if letter in _INVISIBLE or category[0] not in "LM" or category == "Me" or "SMALL CAPITAL" in name:
        return None
    if category[0] == "L":
        return "letter"
    # Vowel signs of Thai or Devanagari follow on each other; accents that do are there to hide the letter.
    return "mark" if name.startswith("COMBINING") else "letter"


def _one_script(name: str) -> bool:
    scripts = {_script(letter) for letter in name if unicodedata.category(letter)[0] in "LM"} - {"COMBINING"}
    return scripts <= _SCRIPTS and (len(scripts) == 1 or any(scripts <= mixture for mixture in _MIXTURES))


def _script(letter: str) -> str:
    if letter in "々〆":
        return "CJK"
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def _reserved(name: str) -> bool:
    latin = _latin(name)
    joined = re.sub(r"[ \-_.']", "", latin)
    if joined.startswith("0x") or _POSING.match(joined):
        return True
    words = {_fold(word) for word in re.split(r"[ \-_.']|(?<=[a-z])(?=[0-9]{2})", latin)}
    folded = _fold(joined)
    reserved = {_fold(_latin(word)) for word in _RESERVED}
    if folded in reserved or words & reserved:
        return True
    return any(_fold(_latin(word)) in folded for word in _RESERVED_ANYWHERE)


def _latin(name: str) -> str:
    """The name as a reader would spell it in Latin: lower case, no accents, look-alikes taken for what they seem."""
    bare = (
        letter for letter in unicodedata.normalize("NFKD", name.casefold()) if unicodedata.category(letter)[0] != "M"
    )
    return "".join(_FOREIGN.get(letter, letter) for letter in bare)


def _fold(word: str) -> str:
    for pair, letter in _PAIRS:
        word = word.replace(pair, letter)
    return word.translate(_FOLDED)
