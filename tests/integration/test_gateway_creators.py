"""A creator over REST on the whole stack: from what people spend to a hash on chain, a wallet and a proof."""

import csv
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from deploy.local.state import PROJECT
from services.score.rules import proof
from tests.support import earning
from tests.support.callers import Caller, advance, now
from tests.support.earning import DOLLAR
from tests.support.integrator import ran
from tests.support.operators import Operator
from tests.support.payout import EVM_COIN, signed, wallet
from tests.support.provider import TRON
from tests.support.stacks import Stack

Eventually = Callable[..., Awaitable[Any]]
BUCKETS = ("pending", "maturing", "withdrawable", "frozen", "held", "paid_out", "reversed")
MODELS = ("plain", 'a, "fine" model')
PAYERS = [f"payer {number}" for number in range(6)]
OURS, SMALL = wallet(7), wallet(8)


@dataclass
class Story:
    """What was done before the first test."""

    stack: Stack
    ann: Caller
    earned_micro: int
    first_day: str

    def last_day(self) -> str:
        return f"{now(self.stack):%Y-%m-%d}"


@pytest.fixture(scope="module")
def story(stack: Stack) -> Story:
    """Ann brought six people who spent; their refunds are over, scores were brought and her wallet was linked."""
    ann = Caller(stack, "ann")
    first_day = f"{now(stack):%Y-%m-%d}"
    earning.sign_up(stack, ann.do("/referrals/code", vanity_code="ANNSCODE")["code"], PAYERS)
    link(ann, OURS)
    link(ann, SMALL)
    # Before anything is spent: weeks that were over before there were scores are not shared.
    earning.bring_scores(stack, {OURS.address: 10**20, SMALL.address: 0, wallet(9).address: 5})
    earned_micro = sum(earning.spend(stack, PAYERS, 333_333_333, model) for model in MODELS)
    earning.back(stack, 1000 * DOLLAR)
    earning.pass_refund_time(stack)
    return Story(stack, ann, earned_micro, first_day)


@pytest.fixture
async def ann(story: Story, eventually: Eventually) -> Caller:
    await eventually(
        lambda: int(story.ann.see("/creator/earnings")["withdrawable_micro"]) > 100 * DOLLAR, within=180, every=0.5
    )
    return story.ann


def link(caller: Caller, key: Any) -> Any:
    asked = {"wallet_address": key.address, "chain_id": 1}
    made = caller.do("/wallets/challenge", **asked)
    return caller.do("/wallets", **asked, nonce=made["nonce"], signature=signed(key, made["text"]))


def wish(dollars: int, **changed: Any) -> dict[str, Any]:
    plain = {"amount_micro": str(dollars * DOLLAR), "currency": EVM_COIN, "destination_address": OURS.address}
    return plain | changed


def offered(caller: Caller) -> set[str]:
    """The currencies whose prices are known well enough."""
    return {each["currency"] for each in caller.see("/payouts/currencies")["currencies"] if each["available"]}


def adds_up(caller: Caller, earned_micro: int) -> dict[str, Any]:
    found: dict[str, Any] = caller.see("/creator/earnings")
    assert sum(int(found[f"{bucket}_micro"]) for bucket in BUCKETS) == int(found["accrued_micro"]) == earned_micro
    return found


def hashes_sent(stack: Stack) -> list[str]:
    """What the provider truly sent."""
    state = requests.get(stack.line["provider"].removesuffix("/v1") + "/control/state", timeout=20).json()
    return [row["hash"] for row in state["rows"] if row["sent"]]


def test_the_examples_of_the_client_run(integrator: Path, stack: Stack, tmp_path: Path) -> None:
    """Before the clock of the stack leaves the one that the examples go by."""
    places = (stack.line["distribution"], stack.line["referral"])
    assert ran(integrator, str(PROJECT / "docs/examples/charges.py"), *places, directory=tmp_path).splitlines() == [
        "community 70000 foundation 25000",
        "replayed True same True",
        "batch 5000",
        "batch INVALID_ARGUMENT REVENUE_OUT_OF_RANGE revenue_micro",
        "stream 1400000",
        "refunded 5000000",
        "mismatch CHARGE_MISMATCH",
    ]
    assert ran(integrator, str(PROJECT / "docs/examples/credits.py"), *places, directory=tmp_path).splitlines() == [
        "mint QUALIFYING_ACTION_OUTCOME_ORGANIC",
        "credits 0",
        "paid part 80000",
        "returned CHARGE_FINALIZED",
    ]


async def test_earnings_are_paid_out_to_a_hash_on_chain(story: Story, ann: Caller, eventually: Eventually) -> None:
    quoted = ann.do("/payouts/quote", **wish(20))
    quote = quoted["quote"]
    assert (quoted["needs_approval"], quoted["needs_confirmation"]) == (False, True)
    assert int(quote["amount_micro"]) == int(quote["net_micro"]) + int(quote["fee_micro"]) == 20 * DOLLAR
    wanted = wish(20, quote_id=quote["quote_id"])
    asked = ann.do("/payouts/request", key="first", **wanted)
    assert ann.do("/payouts/request", key="first", **wanted)["payout_id"] == asked["payout_id"]
    assert ann.refused("/payouts/request", key="first", **wish(21)) == (422, "REQUEST_ID_REUSED")
    assert ann.refused("/payouts/request", key="other", **wanted) == (429, "PAYOUT_TOO_SOON")
    assert int(adds_up(ann, story.earned_micro)["held_micro"]) == 20 * DOLLAR

    path = f"/payouts/{asked['payout_id']}"
    former = asked["confirmation"]["text"]
    assert (asked["stage"], OURS.address in former) == ("awaiting_confirmation", True)
    assert ann.refused(f"{path}/confirm", signature=signed(SMALL, former)) == (400, "CONFIRMATION_WRONG")
    both = ann.post(f"{path}/confirm", signature=signed(OURS, former), typed_address=OURS.address)
    assert (both.status_code, both.json()["code"]) == (400, "BODY_INVALID")
    text = ann.do(f"{path}/challenge")["text"]
    assert ann.refused(f"{path}/confirm", signature=signed(OURS, former)) == (400, "CONFIRMATION_WRONG")
    assert ann.do(f"{path}/confirm", signature=signed(OURS, text))["confirmation"] is None

    await eventually(lambda: ann.see(path)["payout"]["stage"] == "processing", within=180, every=0.5)
    advance(story.stack, 300)
    await eventually(lambda: ann.see(path)["payout"]["state"] == "completed", within=180, every=0.5)
    found = ann.see(path)
    assert hashes_sent(story.stack) == [found["payout"]["transaction_hash"]]
    assert found["payout"]["fee_final"]
    stages = [change["stage"] for change in found["history"]]
    assert stages == ["requested", "awaiting_confirmation", "queued", "submitting", "processing", "completed"]
    assert int(adds_up(ann, story.earned_micro)["paid_out_micro"]) == 20 * DOLLAR
    (kept,) = ann.see("/payouts/destinations")["destinations"]
    assert (kept["address"], kept["state"]) == (OURS.address, "confirmed")


async def test_a_payout_is_cancelled_once_and_its_money_is_back(
    story: Story, ann: Caller, eventually: Eventually
) -> None:
    advance(story.stack, timedelta(hours=25).total_seconds())
    # What a payout comes to is not asked of the provider when somebody asks for one, but ahead of that.
    await eventually(lambda: "usdttrc20" in offered(ann), every=0.5)
    before = ann.see("/creator/earnings")
    asked = ann.do("/payouts/request", **wish(15, currency="usdttrc20", destination_address=TRON))
    assert asked["confirmation"]["method"] == "typed_again"
    path = f"/payouts/{asked['payout_id']}"
    assert ann.refused(f"{path}/confirm", typed_address=TRON[:-1]) == (400, "CONFIRMATION_WRONG")
    assert ann.refused(f"{path}/confirm", typed_address=TRON, key="") == (400, "IDEMPOTENCY_KEY_MISSING")
    gone = ann.do(f"{path}/cancel", key="enough")
    assert (gone["state"], gone["stage"], gone["reason"]) == ("failed", "cancelled", "CANCELLED")
    assert ann.do(f"{path}/cancel", key="enough") == gone
    assert ann.refused(f"{path}/cancel") == (409, "PAYOUT_NOT_CANCELLABLE")
    assert ann.refused(f"{path}/retry") == (409, "PAYOUT_NOT_RETRYABLE")
    assert adds_up(ann, story.earned_micro)["withdrawable_micro"] == before["withdrawable_micro"]
    listed = ann.see("/creator/payouts", page_size=1)
    assert [each["payout_id"] for each in listed["payouts"]] == [asked["payout_id"]]
    rest = ann.see("/creator/payouts", page_size=100, page_token=listed["next_page_token"])
    assert asked["payout_id"] not in {each["payout_id"] for each in rest["payouts"]}
    assert not Caller(story.stack, "bob").see("/creator/payouts", page_token=listed["next_page_token"])["payouts"]
    assert not ann.see("/creator/payouts", state="pending")["payouts"]
    (named,) = [each for each in ann.see("/payouts/destinations")["destinations"] if each["address"] == TRON]
    removed = ann.delete(f"/payouts/destinations/{named['destination_id']}")
    assert (removed.status_code, removed.json()["state"]) == (200, "removed")
    assert TRON not in {each["address"] for each in ann.see("/payouts/destinations")["destinations"]}


async def test_somebody_elses_payout_is_not_there(story: Story, ann: Caller) -> None:
    payouts = ann.see("/creator/payouts")["payouts"]
    assert payouts
    bob = Caller(story.stack, "bob")
    path = f"/payouts/{payouts[0]['payout_id']}"
    assert bob.get(path).json()["code"] == "PAYOUT_UNKNOWN"
    for act, body in (("cancel", {}), ("retry", {}), ("challenge", {}), ("confirm", {"typed_address": TRON})):
        assert bob.refused(f"{path}/{act}", **body) == (404, "PAYOUT_UNKNOWN")
    (place, *_) = ann.see("/payouts/destinations")["destinations"]
    assert bob.delete(f"/payouts/destinations/{place['destination_id']}").status_code == 404
    assert bob.see("/creator/payouts")["payouts"] == bob.see("/payouts/destinations")["destinations"] == []
    assert Caller(story.stack, "ann", "wallets").get(path).json()["code"] == "SCOPE_MISSING"


BAD = [
    ({"amount_micro": 20_000_000}, 400, "BODY_INVALID"),
    ({"amount_micro": "-1"}, 400, "BODY_INVALID"),
    ({"amount_micro": "1e7"}, 400, "BODY_INVALID"),
    ({"amount_micro": "0"}, 400, "PAYOUT_AMOUNT_INVALID"),
    ({"amount_micro": "9999999"}, 409, "BELOW_MINIMUM"),
    ({"currency": "dogecoin2"}, 400, "CURRENCY_UNKNOWN"),
    ({"destination_address": OURS.address[:-1]}, 400, "ADDRESS_INVALID"),
    ({"destination_address": "0x" + "0" * 40}, 400, "ADDRESS_UNSPENDABLE"),
    ({"memo": "a memo"}, 400, "MEMO_INVALID"),
    ({"quote_id": "none"}, 400, "PAYOUT_NAME_INVALID"),
    ({"quote_id": "01a1fe07-b252-71b5-885d-a953e3705001"}, 404, "QUOTE_UNKNOWN"),
    ({"account_id": "ann"}, 400, "BODY_INVALID"),
]


@pytest.mark.parametrize(("changed", "status", "code"), BAD, ids=[f"{each[2]} {each[0]}"[:50] for each in BAD])
def test_a_bad_request_is_refused_and_nothing_is_held(story: Story, changed: Any, status: int, code: str) -> None:
    before = story.ann.see("/creator/payouts")
    assert story.ann.refused("/payouts/request", **wish(20) | changed) == (status, code)
    assert story.ann.see("/creator/payouts") == before


def test_who_has_nothing_is_paid_nothing(story: Story) -> None:
    bob = Caller(story.stack, "bob")
    assert bob.refused("/payouts/request", **wish(20)) == (409, "INSUFFICIENT_WITHDRAWABLE")
    assert set(bob.see("/creator/earnings")["accrued_micro"]) == {"0"}


async def test_statement_bars_parts_and_ledger_are_one_sum(story: Story, ann: Caller, eventually: Eventually) -> None:
    period = {"from_day": story.first_day, "to_day": story.last_day()}

    def lines() -> list[dict[str, str]]:
        answer = ann.get("/creator/statement.csv", **period)
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "attachment" in answer.headers["Content-Disposition"]
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))

    await eventually(
        lambda: sum(int(line["accrued_micro"]) for line in lines()) == story.earned_micro, within=180, every=0.5
    )
    assert {(line["day"], line["model"], line["charges"]) for line in lines()} == {
        (story.first_day, model, "6") for model in MODELS
    }
    for bucket in ("day", "week", "month"):
        series = ann.see("/creator/earnings", bucket=bucket)["series"]
        assert [point["accrued_micro"] for point in series["points"]] == [str(story.earned_micro)]
    parts = ann.see("/creator/earnings/breakdown", dimension="model", **period)["parts"]
    assert {part["name"] for part in parts} == set(MODELS)
    (channel,) = ann.see("/creator/earnings/breakdown", dimension="channel", **period)["parts"]
    assert (channel["name"], channel["accrued_micro"]) == ("discord", str(story.earned_micro))
    ledger = Operator(story.stack, "first").see("/ledger/trial-balance")
    assert ledger["total_micro"] == "0"
    assert ann.see("/creator/earnings")["series"] is None
    backwards = ann.get("/creator/statement.csv", from_day=period["to_day"], to_day="2001-01-01")
    assert (backwards.status_code, backwards.json()["code"]) == (400, "DAYS_INVALID")
    unsaid = ann.get("/creator/statement.csv")
    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (400, "?from_day")


def test_a_link_and_its_code_to_scan_are_shared(story: Story) -> None:
    card = story.ann.see("/referrals/share", channel="discord")
    assert card["code"] == "annscode"
    assert card["code"] in card["share_url"]
    assert "discord" in card["share_url"]
    assert "<svg" in card["qr_svg"]
    assert Caller(story.stack, "bob").get("/referrals/share").json()["code"] == "NO_ACTIVE_CODE"


def test_a_wallet_is_linked_by_its_own_signature_alone(story: Story) -> None:
    eve, key = Caller(story.stack, "eve"), wallet(30)
    asked = {"wallet_address": key.address, "chain_id": 1}
    made = eve.do("/wallets/challenge", **asked)
    forged = {"nonce": made["nonce"], "signature": signed(wallet(31), made["text"])}
    assert eve.post("/wallets", **asked, **forged).status_code == 409
    assert eve.refused("/wallets", **asked, nonce=made["nonce"], signature=signed(key, made["text"])) == (
        409,
        "CHALLENGE_USED",
    )
    assert (link(eve, key)["already_linked"], link(eve, key)["already_linked"]) == (False, True)
    assert [each["wallet_address"] for each in eve.see("/wallets")["wallets"]] == [key.address]
    made = (bob := Caller(story.stack, "bob")).do("/wallets/challenge", **asked)
    taken = {"nonce": made["nonce"], "signature": signed(key, made["text"])}
    assert bob.refused("/wallets", **asked, **taken) == (409, "WALLET_TAKEN")
    assert bob.delete(f"/wallets/{key.address}").json()["unlinked"] is False
    gone = [eve.delete(f"/wallets/{key.address}").json()["unlinked"] for _ in range(2)]
    assert gone == [True, False]
    assert eve.delete("/wallets/0x12").json()["code"] == "PATH_INVALID"
    assert eve.refused("/wallets/challenge", wallet_address="0x12", chain_id=1) == (400, "WALLET_ADDRESS_INVALID")


async def test_a_reward_says_why_and_proves_itself(story: Story, ann: Caller, eventually: Eventually) -> None:
    rewards = await eventually(lambda: ann.see("/score/rewards")["rewards"], within=180, every=0.5)
    reward = rewards[-1]
    path = f"/score/runs/{reward['run_id']}"
    told = ann.see(path)
    assert (told["outcome"], told["reward"]) == ("included", reward)
    assert {each["wallet_address"]: each["outcome"] for each in told["wallets"]} == {
        OURS.address: "included",
        SMALL.address: "wallet_below_minimum",
    }
    root = ann.see(f"{path}/root")["root"]
    proved = proof.verify(ann.see(f"{path}/proof"), bytes.fromhex(root["root_hash"]))
    assert str(proved.reward_micro) == reward["reward_micro"]
    bob = Caller(story.stack, "bob")
    assert bob.see(path)["outcome"] == "no_wallet"
    assert bob.get(f"{path}/proof").json()["code"] == "NOT_REWARDED"
    assert bob.get("/score/runs/01a1fe07-b252-71b5-885d-a953e3705001").json()["code"] == "RUN_UNKNOWN"
