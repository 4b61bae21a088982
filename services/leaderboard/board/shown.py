"""What a page showed a moment ago, names and all: most readers ask for the same few pages."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

KEPT_S: Final = 0.9
"""At most so long: with what wallets' addresses are remembered, less than it takes to report an erasure."""
_PAGES_MAX: Final = 256


@dataclass
class _Page(Generic[T]):
    """One page; who makes it holds the turn, the others wait for it."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    content: T | None = None


class Shown(Generic[T]):
    """Remembers pages for less than a second, and no longer than a board of theirs is fresh."""

    def __init__(self, cache_seconds: float) -> None:
        """0 remembers nothing."""
        self._seconds = min(cache_seconds, KEPT_S)
        self._pages: dict[Hashable, _Page[T]] = {}

    async def page(self, key: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """What is remembered, or what is made now; made once for all who ask at that moment."""
        if not self._seconds:
            return await make()
        page = self._pages.get(key)
        if page is None:
            if len(self._pages) >= _PAGES_MAX:
                self.forget()
            if not self._pages:
                # All go at once and by themselves, read or not: an erased account's name too.
                asyncio.get_running_loop().call_later(self._seconds, self.forget)
            page = self._pages[key] = _Page()
        async with page.turn:
            if page.content is None:
                page.content = await make()
            return page.content

    def forget(self) -> None:
        """Lets go of all pages: time is up, or somebody shows another name."""
        self._pages = {}
