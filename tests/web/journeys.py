"""Long ways through the pages, from a code to the hash of a payout."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from playwright.async_api import expect

from services.score.rules import proof
from tests.support import earning
from tests.support.browsers import Tab
from tests.support.callers import Caller, advance, now
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
    return str(await code.locator(".beside .code").inner_text())


async def follow(tab: Tab, link: str, account: str) -> None:
    """Opens somebody's link, signs in there and takes what the page offers."""
    await tab.page.goto(link)
    await tab.page.get_by_label("Account").fill(account)
    await tab.page.get_by_role("button", name="Sign in").click()
    await tab.page.get_by_role("button", name="Bind it").click()
    await expect(tab.page.locator("#live")).to_contain_text("Done")


async def give_wallet(tab: Tab, key: Any) -> None:
    """The browser has a wallet (EIP-1193) from now on; its owner says no where the page has `saysNo`."""

    def answer(method: str, parameters: list[str]) -> Any:
        if method != "personal_sign":
            return {"eth_requestAccounts": [key.address], "eth_chainId": "0x1"}[method]
        text, signer = parameters
        assert signer == key.address
        return signed(key, bytes.fromhex(text.removeprefix("0x")).decode())

    await tab.context.expose_function("askWallet", answer)
    await tab.context.add_init_script(
        """window.ethereum = { request: async ({ method, params }) => {
            if (method === "personal_sign" && window.saysNo) throw { code: 4001 };
            return window.askWallet(method, params ?? []);
        } };"""
    )


async def link(tab: Tab) -> None:
    """Links the browser's wallet; the first time its owner thinks better of it."""
    await tab.go("Score and wallets")
    linking = tab.card("Link a wallet")
    await linking.get_by_role("button", name="Use my browser's wallet").click()
    await tab.page.evaluate("window.saysNo = true")
    signing = linking.get_by_role("button", name="Sign with my browser's wallet")
    await signing.click()
    await expect(linking.get_by_role("alert")).to_contain_text("You said no in your wallet.")
    await tab.page.evaluate("window.saysNo = false")
    await signing.click()
    await expect(tab.card("Your wallets").locator("tbody tr")).to_have_count(1)


async def prove(tab: Tab, stack: Stack, account: str) -> str:
    """The week's reward, why it is what it is, and a proof that holds away from here; returns the run."""
    who = Caller(stack, account)
    reward = (await eventually(lambda: who.see("/score/rewards")["rewards"], within=120, every=1))[-1]
    root = who.see(f"/score/runs/{reward['run_id']}/root")["root"]
    await tab.go("Score and wallets")
    await tab.card("Rewards").locator("tbody tr").last.get_by_role("link").click()
    await expect(tab.card("In that run")).to_contain_text("Counted")
    document = json.loads(await saved(tab, "Download the proof"))
    assert str(proof.verify(document, bytes.fromhex(root["root_hash"])).reward_micro) == reward["reward_micro"]
    return str(reward["run_id"])


async def be_told_why_not(tab: Tab, run: str) -> None:
    """Who was left out of a run learns why."""
    await tab.go("Score and wallets")
    await tab.page.get_by_label("Run id").fill(run)
    await tab.page.get_by_role("button", name="Why?").click()
    await expect(tab.card("In that run")).to_contain_text("You had no wallet then")


async def statement(tab: Tab, stack: Stack, account: str) -> str:
    """The CSV that the page saves, once the days of the charges are closed."""
    who, today = Caller(stack, account), now(stack)
    days = {"from_day": f"{today - timedelta(days=29):%F}", "to_day": f"{today:%F}"}
    await eventually(lambda: MODEL in who.get("/creator/statement.csv", **days).text, within=120, every=1)
    await tab.go("Earnings")
    return await saved(tab, "Download as CSV")


async def saved(tab: Tab, button: str) -> str:
    """The text of the file that a button saves."""
    async with tab.page.expect_download() as download:
        await tab.page.get_by_role("button", name=button).click()
    return read(Path(await (await download.value).path()))


def read(path: Path) -> str:
    return path.read_text()


async def earn(stack: Stack, account: str, people: list[str]) -> None:
    """They spend, the charges settle, and the time of refunds passes."""
    earning.spend(stack, people, 400 * DOLLAR, MODEL)
    earning.back(stack, 1000 * DOLLAR)
    earning.pass_refund_time(stack)
    who = Caller(stack, account)
    await eventually(lambda: int(who.see("/creator/earnings")["withdrawable_micro"]) > 0, within=180, every=1)


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

    await eventually(completed, within=120, every=0.5)
    await tab.page.reload()
    await tab.settled()
    await expect(tab.card("Payout")).to_contain_text(re.compile(r"Transaction\s*[0-9a-f]{64}"))
    await expect(tab.card("Every step").locator("li > b")).to_have_text(list(reversed(STEPS)))
