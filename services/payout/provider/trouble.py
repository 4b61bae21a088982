"""What may come of a call besides its answer. Only three things matter to money: refused, not now, nobody knows.

Trouble
├── Refused        it said no: nothing was done, and the same again is refused the same
│   ├── AlreadyThere   the unique_external_id is taken: an earlier attempt landed
│   ├── NotThere       no such payout or payment
│   └── NotNow         it said no, or was never reached: nothing was done; the same may pass later
└── Unknown        it may have been done
"""

_CODE_MAX = 64


class Trouble(Exception):
    """A call that has no answer to work with; `code` is a word for logs and rows, and holds nothing private."""

    def __init__(self, code: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(code)
        self.code = _plain(code)
        self.wait_seconds = wait_seconds
        """How long the provider asked to be left alone."""


class Refused(Trouble):
    """The provider refused it; nothing was done."""


class AlreadyThere(Refused):
    """The unique_external_id was used before: that attempt landed."""


class NotThere(Refused):
    """The provider knows no such thing."""


class NotNow(Refused):
    """Nothing was done; the same may pass later."""


class Unknown(Trouble):
    """Nobody knows whether it was done."""


def of_status(http_status: int, code: str, message: str, wait_seconds: float) -> Trouble:
    """What a failed answer means: by its HTTP status, then its code, then words of its message."""
    words = message.lower()
    named = code or f"HTTP_{http_status}"
    if http_status == 429:  # noqa: PLR2004
        return NotNow("RATE_LIMITED", wait_seconds=wait_seconds)
    if http_status in {401, 403}:
        return NotNow(named)
    if http_status == 404:  # noqa: PLR2004
        return NotThere(named)
    if not 400 <= http_status < 500 or http_status == 408:  # noqa: PLR2004
        return Unknown(f"HTTP_{http_status}")
    if "already exists" in words:
        return AlreadyThere("ALREADY_EXISTS")
    if "insufficient balance" in words:
        return NotNow("INSUFFICIENT_BALANCE")
    if "min amount" in words or "minimum amount" in words:
        return NotNow("BELOW_PROVIDER_MINIMUM")
    if "not whitelisted" in words:
        return NotNow("NOT_WHITELISTED")
    return Refused(named)


def _plain(code: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in code[:_CODE_MAX]).upper()
