import re
from typing import Final

MAX_ID: Final = 128
_CODED: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def is_id(text: str) -> bool:
    """Whether a text may be an outside id."""
    return 0 < len(text) <= MAX_ID and text.isascii() and text.isprintable()


def is_label(text: str, longest: int) -> bool:
    """Whether a text may be shown, and is not too long."""
    return len(text) <= longest and text.isprintable()


def is_coded(text: str) -> bool:
    """Whether a text is a coded reason: 1 to 64 capitals, digits and underscores, a capital first."""
    return bool(_CODED.fullmatch(text))
