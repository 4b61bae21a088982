"""Headless Chromium, as the system has it: Playwright drives it and downloads nothing."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
MISSING: Final = "Chromium is not installed: `apt-get install -y chromium` (Debian), or any Chromium in PATH."

_SETTLED: Final = """() => {
    const shows = document.querySelector("main")?.dataset.shows;
    return shows === location.hash && !document.querySelector("[aria-busy=true], .bones");
}"""

WAIT_MS: Final = 30_000.0
"""How long anything on a page is waited for."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        # Without its sandbox, which needs a user of its own: it opens nothing but the gateway under test.
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclass
class Tab:
    """One visitor with a browser of its own."""

    context: BrowserContext
    page: Page
    base: str
    wrong: list[str] = field(default_factory=list)
    """What the page wrote down as an error, but for answers that are no success."""

    async def open(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def sign_in(self, account: str, site: str = "/") -> None:
        """By the form of test mode."""
        await self.open(site)
        await self.page.get_by_label("Account", exact=False).first.fill(account)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("navigation", name="Pages").wait_for()

    async def go(self, name: str) -> None:
        """By the navigation."""
        await self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()
        await self.settled()

    async def settled(self) -> None:
        """Until the page of this address is shown and no card waits for its content any more."""
        await self.page.wait_for_function(_SETTLED)

    def card(self, name: str) -> Any:
        return self.page.get_by_role("region", name=name, exact=True).first


@asynccontextmanager
async def visiting(browser: Browser, base: str, **options: Any) -> AsyncIterator[Tab]:
    context = await browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
    context.set_default_timeout(WAIT_MS)
    # What is expected has a time-out of its own, of five seconds.
    expect.set_options(timeout=WAIT_MS)
    tab = Tab(context, await context.new_page(), base)
    with _watched(tab):
        yield tab
    await context.close()


@contextmanager
def _watched(tab: Tab) -> Iterator[None]:
    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            tab.wrong.append(message.text)

    tab.page.on("console", note)
    tab.page.on("pageerror", lambda error: tab.wrong.append(str(error)))
    yield
    assert tab.wrong == []
