"""Addresses that nothing is sent to: a file of one a line, read again whenever it changes."""

from pathlib import Path

from libs.refusals import Unavailable
from services.payout.rules.addresses import screened


class ScreeningUnavailable(Unavailable):
    """The list of blocked addresses cannot be read, so nothing is sent anywhere."""


class Screening:
    """`#` begins a comment. Without a file nothing is blocked; with one that cannot be read everything waits."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._version: tuple[int, int, int] | None = None
        self._blocked: frozenset[str] = frozenset()

    def is_blocked(self, address: str) -> bool:
        """Whether an address is on the list as it is now. Raises ScreeningUnavailable."""
        if self._path is None:
            return False
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if version != self._version:
                lines = self._path.read_text(encoding="utf-8").splitlines()
                entries = (line.partition("#")[0].strip() for line in lines)
                self._blocked = frozenset(screened(entry) for entry in entries if entry)
                self._version = version
        except (OSError, UnicodeDecodeError):
            raise ScreeningUnavailable from None
        return screened(address) in self._blocked
