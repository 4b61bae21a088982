"""What an operator does in a morning, page by page."""

import re

from playwright.async_api import expect

from tests.support.browsers import Tab
from tests.support.callers import Caller
from tests.support.eventually import eventually
from tests.support.operators import Operator
from tests.support.stacks import Stack


def farm(stack: Stack, account: str, number: int) -> None:
    """One machine signs up under several names, with one person's code."""
    code = Caller(stack, account).do("/referrals/code")["code"]
    for each in range(number):
        caller = Caller(stack, f"{account}'s {each}", address="203.0.113.9")
        caller.headers["X-Client-Fingerprint"] = f"the machine of {account}"
        caller.do("/referrals/register", code=code)


async def review(tab: Tab) -> None:
    """From the count of what waits through the queue, by keys: look, note, confirm and clear."""
    await tab.page.get_by_role("link", name="Cases to review").click()
    await tab.settled()
    queue, evidence, keys = tab.card("Queue"), tab.page.get_by_label("Evidence"), tab.page.keyboard
    cases = queue.locator("tbody tr")
    before = await cases.count()
    await expect(cases.nth(0)).to_have_attribute("aria-current", "true")
    await keys.press("j")
    await expect(cases.nth(1)).to_have_attribute("aria-current", "true")
    await keys.press("k")
    await expect(cases.nth(0)).to_have_attribute("aria-current", "true")
    await expect(evidence).to_contain_text("Accounts on the same device")
    await keys.press("n")
    await keys.type("seen before")
    await keys.press("Enter")
    await expect(evidence.locator("blockquote").last).to_contain_text("seen before")
    for number, (key, done) in enumerate((("x", "Abuse confirmed"), ("c", "Cleared")), 1):
        await tab.settled()
        await keys.press(key)
        await expect(evidence.get_by_label("Why")).to_be_focused()
        await keys.type("one machine, many names")
        await keys.press("Enter")
        await expect(tab.page.locator("#live")).to_have_text(done)
        await expect(cases).to_have_count(before - number)
        await expect(queue.locator("tr[aria-current] button")).to_be_focused()


async def compare(tab: Tab, operator: Operator) -> None:
    """The provider's account beside ours."""
    await tab.go("Reconciliation")
    runs = tab.card("Runs").locator("tbody tr")
    before = {each["reconciliation_id"] for each in operator.see("/reconciliations")["reconciliations"]}
    asking = tab.card("Compare now")
    await asking.get_by_label("Why").fill("every morning")
    await asking.get_by_role("button", name="Compare").click()

    def matched() -> bool:
        found = operator.see("/reconciliations")["reconciliations"]
        return found[0]["reconciliation_id"] not in before and found[0]["state"] == "matched"

    await eventually(matched, within=60, every=0.5)
    await tab.page.reload()
    await expect(runs.first).to_contain_text("Matched")
    await expect(tab.card("Open differences")).to_contain_text("No differences")


async def audit(tab: Tab, operator: Operator) -> None:
    """Every invariant once more."""
    await tab.go("Invariants")
    asking = tab.card("Audit now")
    await asking.get_by_label("Why").fill("every morning")
    await asking.get_by_role("button", name="Start an audit").click()
    ours = tab.card("Audits").locator("tbody tr", has_text=operator.name)

    def passed() -> bool:
        found = operator.see("/audits")["audits"]
        return [each["state"] for each in found if each["operator_id"] == operator.name] == ["passed"]

    await eventually(passed, within=60, every=0.5)
    await tab.page.reload()
    await expect(ours).to_contain_text("Passed")
    await ours.get_by_role("link").click()
    report = tab.card("Report")
    await expect(report.locator(".tiles .tag")).not_to_have_count(0)
    await expect(report.locator(".tiles .tag.bad")).to_have_count(0)


async def read_log(tab: Tab, operator: Operator) -> None:
    """What was just done is written down."""
    await tab.go("Audit log")
    await tab.page.get_by_label("By operator").fill(operator.name)
    await tab.page.get_by_role("button", name="Show").click()
    acts = tab.card("Acts").locator("tbody")
    await expect(acts).to_contain_text("one machine, many names")
    await tab.page.get_by_role("button", name="Reserve").click()
    await expect(tab.card("Acts")).to_contain_text(re.compile("Top up|No acts"))


async def erase(tab: Tab, account: str) -> None:
    """Looks an account up and has it forgotten, everywhere."""
    await tab.go("Accounts")
    await tab.page.get_by_label("Account id or reference").fill(account)
    await tab.page.get_by_role("button", name="Look up").click()
    await expect(tab.card("Account")).to_contain_text("referred")
    erasure = tab.card("Erasure")
    await erasure.get_by_label("Type the account's id again").fill(account)
    await erasure.get_by_label("Why").fill("its owner asked")
    await erasure.get_by_role("button", name="Erase this account").click()
    again = erasure.get_by_role("button", name="Look again")

    async def forgotten() -> bool:
        await again.click()
        return bool(await erasure.locator(".tag", has_text="Done").count())

    await eventually(forgotten, within=60, every=0.5)
    await expect(erasure.locator("tbody tr")).to_have_count(5)
    await tab.page.get_by_role("button", name="Look up").click()
    await expect(tab.page.get_by_role("alert").first).to_contain_text("Not there")
