"""Long ways through the pages, from a code to the hash of a payout."""

import re
from typing import Any, Final

from playwright.async_api import expect

from tests.support import earning
from tests.support.browsers import Tab
from tests.support.callers import Caller, advance
from tests.support.earning import DOLLAR
from tests.support.eventually import eventually
from tests.support.payout import EVM_COIN, signed
from tests.support.stacks import Stack

MODEL: Final = "a long model name, with a comma"
STEPS: Final = (
    "Requested",
    "Awaiting confirmation",
    "Awaiting approval",
    "Queued",
    "Submitting",
    "Processing",
    "Completed",
)
HALF_MINUTE: Final = 30
"""A code of the second factor is good for one payout."""


async def make_code(tab: Tab, account: str, wish: str) -> str:
    """Signs in and makes a code; returns the link to hand out."""
    await tab.sign_in(account)
    await tab.page.get_by_label("Wish").fill(wish)
    await tab.page.get_by_role("button", name="Make my code").click()
    code = tab.card("Your code")
    await expect(code.locator("img.qr")).to_be_visible()
    return str(await code.locator(".row .code").inner_text())


async def follow(tab: Tab, link: str, account: str) -> None:
    """Opens somebody's link, signs in there and takes what the page offers."""
    await tab.page.goto(link)
    await tab.page.get_by_label("Account").fill(account)
    await tab.page.get_by_role("button", name="Sign in").click()
    await tab.page.get_by_role("button", name="Bind it").click()
    await expect(tab.page.locator("#live")).to_contain_text("Done")


async def earn(stack: Stack, account: str, people: list[str]) -> None:
    """They spend, the charges settle, and the time of refunds passes."""
    earning.spend(stack, people, 400 * DOLLAR, MODEL)
    earning.back(stack, 1000 * DOLLAR)
    earning.pass_refund_time(stack)
    who = Caller(stack, account)
    await eventually(lambda: int(who.see("/creator/earnings")["withdrawable_micro"]) > 0, within=60, every=0.2)


async def ask(tab: Tab, key: Any, dollars: str) -> None:
    """From the form over the offer to the signature that confirms the address."""
    await tab.go("Payouts")
    asking = tab.card("Ask for a payout")
    await asking.get_by_label("Amount in dollars").fill(dollars)
    await asking.get_by_role("combobox").select_option(EVM_COIN)
    await asking.get_by_role("textbox", name="Address").fill(key.address)
    await asking.get_by_role("button", name="What would arrive?").click()
    await asking.get_by_role("button", name="Ask for this payout").click()
    await sign(tab, tab.card("Payout"), key)


async def sign(tab: Tab, card: Any, key: Any) -> None:
    """Signs the text that a card shows, with a wallet outside of the browser."""
    text = await card.get_by_label("Text to sign").inner_text()
    await card.get_by_label("Signature").fill(signed(key, text))
    await card.get_by_role("button", name="Send signature").click()
    await expect(tab.page.locator("#live")).to_contain_text(re.compile("Confirmed|Linked"))


async def approve(tab: Tab) -> None:
    """From the count of what waits to a payout that waits no more."""
    await tab.sign_in("operator-1", "/admin")
    await tab.page.get_by_role("link", name="Payouts to approve").click()
    await tab.card("Payouts").get_by_role("row").nth(1).get_by_role("link").click()
    one = tab.card("Payout")
    await expect(one).to_contain_text("Single over limit")
    deciding = one.locator("form").filter(has=tab.page.get_by_role("button", name="Approve"))
    await deciding.get_by_label("Why").fill("known for years")
    await deciding.get_by_role("button", name="Approve").click()
    await expect(one).to_contain_text("1 of 1")


async def arrive(tab: Tab, stack: Stack, account: str) -> None:
    """The provider's simulator pays; every step and the hash are on the page."""
    who = Caller(stack, account)

    def completed() -> bool:
        advance(stack, HALF_MINUTE)
        return str(who.see("/creator/payouts")["payouts"][0]["stage"]) == "completed"

    await eventually(completed, within=60, every=0.3)
    await tab.page.reload()
    await tab.settled()
    await expect(tab.card("Payout")).to_contain_text(re.compile(r"Transaction\s*[0-9a-f]{64}"))
    await expect(tab.card("Every step").locator("li > b")).to_have_text(list(reversed(STEPS)))
