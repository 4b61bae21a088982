"""The whole stack as a new user starts it, the demo economy through its front doors, processes killed in it, and the
same sums worked out again from the inputs by arithmetic of this file's own."""

import asyncio
import csv
import gzip
import json
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from deploy.local.demo import scores
from deploy.local.demo.economy import DATA, Economy, build
from tests.support.eventually import eventually
from tests.support.stacks import Stack

pytestmark = pytest.mark.timeout(900)
TRACE = 19_366
TRAININGS = 4
CHARGES = TRACE + TRAININGS
KILL_AFTER = 4_000
WHOLE_DEMO_S = 600
BONUS, BUDGET, CAP = 5_000_000, 400_000_000, 20
PAID = {
    "creator-01": (1_200_000_000, 11_400),
    "creator-02": (40_000_000, 910_000),
    "creator-03": (65_000_000, 1_327_659),
}
"""What each creator is paid out, and the network's fee of it, in micro-USD."""
REFUSED = {"creator-11": 25_000_000}
"""What the provider will not have."""


@dataclass(frozen=True)
class Played:
    """One run of the demo: what it printed, and its exit code."""

    printed: str
    code: int


async def start_demo(stack: Stack, state: Path) -> asyncio.subprocess.Process:
    arguments = ("-m", "deploy.local.demo", "--stack", json.dumps(stack.line), "--state", str(state))
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def finish(process: asyncio.subprocess.Process) -> Played:
    printed, _ = await process.communicate()
    return Played(printed.decode(), process.returncode if process.returncode is not None else -1)


async def journalled(books: asyncpg.Connection) -> int:
    try:
        count: int = await books.fetchval("SELECT count(*) FROM distribution.distributions")
    except asyncpg.UndefinedTableError:
        return 0
    return count


@pytest.fixture(scope="module")
async def books(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """The operator's eye on all schemas."""
    connection = await asyncpg.connect(stack.line["postgres"])
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def first_run(stack: Stack, books: asyncpg.Connection, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The demo, with distribution and then referral killed -9 amid the trace, and payout amid its payouts."""
    process = await start_demo(stack, tmp_path_factory.mktemp("demo") / "demo.json")
    # It bounds its own waits, and says what did not come: nothing else is waited for once it is over.
    playing = asyncio.ensure_future(finish(process))
    for number, name in enumerate(("distribution", "referral"), start=1):

        async def so_far(charges: int = number * KILL_AFTER) -> bool:
            return playing.done() or await journalled(books) >= charges

        await eventually(so_far, within=WHOLE_DEMO_S)
        stack.kill(name, signal.SIGKILL)

    async def is_paying() -> bool:
        paying = "SELECT EXISTS (SELECT FROM payout.payouts WHERE stage IN (5, 6) AND money = 3)"
        return playing.done() or bool(await books.fetchval(paying))

    await eventually(is_paying, within=WHOLE_DEMO_S)
    stack.kill("payout", signal.SIGKILL)
    return await playing


@pytest.fixture(scope="module")
def economy() -> Economy:
    return build()


@dataclass(frozen=True)
class Expected:
    """What everybody must have got, in micro-USD."""

    shares: dict[str, tuple[int, int, int, int]]
    accrued: Counter[str]
    taken_back: Counter[str]
    charges: Counter[str]
    accounts: Counter[str]
    bonuses: Counter[tuple[str, str, str]]
    """By creator, state and reason."""
    foundation: dict[str, int]
    """Its share of each charge."""
    foundation_back: Counter[str]
    """What each payment's refund takes back of that."""


@pytest.fixture(scope="module")
def expected(economy: Economy) -> Expected:
    """The split by exact fractions, rounded down, the foundation taking what is left; then the refunds likewise."""
    brought_by = {sign_up.account_id: sign_up.creator for sign_up in economy.sign_ups}
    refunds = {purchase.account_id: purchase for purchase in economy.purchases if purchase.refunded_micro}
    found = Expected({}, Counter(), Counter(), Counter(), Counter(), Counter(), {}, Counter())
    for charge in economy.charges:
        creator = brought_by[charge.payer_account_id]
        revenue = charge.revenue_micro
        referrer = floor(Fraction(revenue, 10)) if creator else 0
        rest = Fraction(revenue - referrer)
        commons, community = floor(rest * Fraction(5, 100)), floor(rest * Fraction(70, 100))
        shares = (referrer, commons, community, revenue - referrer - commons - community)
        found.shares[charge.inference_charge_id] = shares
        found.foundation[charge.inference_charge_id] = shares[3]
        post(found, charge.community_id, creator.account_id if creator else "", shares, late=False)
        if creator:
            found.accrued[creator.account_id] += referrer
            found.charges[creator.account_id] += 1
        if refund := refunds.get(charge.payer_account_id):
            back = floor(Fraction(revenue * refund.refunded_micro, refund.price_micro))
            r, c, m = (floor(Fraction(share * back, revenue)) for share in shares[:3])
            undone = (-r, -c, -m, -(back - r - c - m))
            found.foundation_back[refund.payment_id] += back - r - c - m
            post(found, charge.community_id, creator.account_id if creator else "", undone, late=refund.refunded_late)
            if creator and not refund.refunded_late:
                found.taken_back[creator.account_id] += r
    earn_bonuses(found, economy)
    for name, (gross, fee) in PAID.items():
        found.accounts[f"creator {name}"] -= gross
        found.accounts["platform:paid_out"] += gross
        found.accounts["treasury:payout_reserve"] -= gross
        found.accounts["provider:sent"] += gross - fee
        found.accounts["provider:fees"] += fee
    return found


def earn_bonuses(found: Expected, economy: Economy) -> None:
    """$5 for each referee's first purchase of $5 or mint of $1, twenty to one creator, none for what is refunded."""
    brought_by = {sign_up.account_id: sign_up.creator for sign_up in economy.sign_ups}
    left = {each.account_id: each.price_micro - each.refunded_micro for each in economy.purchases}
    actions = [each.account_id for each in economy.purchases if each.price_micro >= 5 * 10**6]
    actions += [each.account_id for each in economy.mints if each.paid_micro >= 10**6]
    slots: Counter[str] = Counter()
    for payer in dict.fromkeys(actions):
        if creator := brought_by[payer]:
            slots[creator.account_id] += 1
            refunded = left.get(payer, BONUS) < BONUS
            state, reason = ("denied", "REFUNDED") if refunded else ("granted", "")
            if slots[creator.account_id] > CAP:
                state, reason = "denied", "REFERRER_CAP"
            found.bonuses[creator.account_id, state, reason] += 1
            if state == "granted":
                found.accounts[f"credits {creator.account_id}"] += BONUS
    found.accounts["platform:marketing"] -= BUDGET
    found.accounts["campaign"] += BUDGET - sum(
        micro for name, micro in found.accounts.items() if name.startswith("credits ")
    )


def post(found: Expected, community_id: str, creator: str, shares: tuple[int, int, int, int], *, late: bool) -> None:
    """One charge's shares onto the accounts; of a late refund the platform bears the creator's."""
    referrer, commons, community, foundation = shares
    found.accounts["platform:receipts"] -= sum(shares)
    found.accounts["commons"] += commons
    found.accounts[f"community:{community_id}"] += community
    found.accounts["foundation"] += foundation
    if late:
        found.accounts["platform:clawback_loss"] += referrer
        return
    found.accounts["treasury:operating"] -= referrer
    found.accounts["treasury:payout_reserve"] += referrer
    if creator:
        found.accounts[f"creator {creator}"] += referrer


def test_the_demo_replays_the_whole_real_trace_at_twice_its_cost(economy: Economy) -> None:
    prices = json.loads((DATA / "prices.json").read_text())
    with gzip.open(DATA / "azure_llm_inference_conv_2023.csv.gz", "rt", newline="") as file:
        requests = list(csv.DictReader(file))
    trace = [charge for charge in economy.charges if not charge.inference_charge_id.startswith("training-")]
    assert (len(requests), len(trace), len(economy.charges)) == (TRACE, TRACE, CHARGES)
    for row, charge in zip(requests, trace, strict=True):
        price = prices[charge.model]
        usd = int(row["ContextTokens"]) * Fraction(price["input"]) + int(row["GeneratedTokens"]) * Fraction(
            price["output"]
        )
        assert charge.provider_cost_micro == ceil(usd * 10**6)
        assert charge.revenue_micro == 2 * charge.provider_cost_micro


async def test_every_check_of_the_demo_holds_although_distribution_was_killed_in_the_middle(
    first_run: Played, books: asyncpg.Connection
) -> None:
    assert first_run.code == 0, first_run.printed
    assert "WRONG" not in first_run.printed
    assert await journalled(books) == CHARGES


async def test_the_printed_table_is_what_the_inputs_give(
    first_run: Played, economy: Economy, expected: Expected
) -> None:
    referrals = shown_off(economy, expected)
    amount = r" *\$([\d,.]+) ?│"
    row = re.compile(r"│([A-Z][^│]+?) *│ *([\d,]+)│ *([\d,]+)│" + 3 * amount)
    printed = {
        match[1].strip(): tuple(int(re.sub(r"[,.]", "", match[column])) for column in range(2, 7))
        for match in row.finditer(first_run.printed)
    }
    assert printed == {
        creator.display_name: (
            referrals[creator.account_id],
            expected.charges[creator.account_id],
            expected.accrued[creator.account_id],
            expected.taken_back[creator.account_id],
            payable_of(expected, creator.account_id),
        )
        for creator in economy.creators
    }
    bonus = re.compile(r"^│ ([A-Z][^│]+?) +│ +(\d+) │ +(\d+) │" + amount + "$", re.MULTILINE)
    credited = {
        match[1].strip(): (int(match[2]), int(match[3]), int(re.sub(r"[,.]", "", match[4])))
        for match in bonus.finditer(first_run.printed)
    }
    assert credited == {creator.display_name: bonuses_of(expected, creator.account_id) for creator in economy.creators}


def shown_off(economy: Economy, expected: Expected) -> Counter[str]:
    """Whom each brought; who was paid back what a bonus was for counts no more."""
    brought = Counter(sign_up.creator.account_id for sign_up in economy.sign_ups if sign_up.creator)
    brought.subtract({name: expected.bonuses[name, "denied", "REFUNDED"] for name in brought})
    return brought


def payable_of(expected: Expected, creator: str) -> int:
    """What is left to be asked for."""
    return expected.accrued[creator] - expected.taken_back[creator] - PAID.get(creator, (0, 0))[0]


def bonuses_of(expected: Expected, creator: str) -> tuple[int, int, int]:
    """Granted, denied, and their sum."""
    granted = expected.bonuses[creator, "granted", ""]
    denied = sum(count for (name, state, _), count in expected.bonuses.items() if (name, state) == (creator, "denied"))
    return granted, denied, granted * BONUS


async def test_the_provider_sent_what_was_burned_and_not_returned_each_to_its_creator(
    first_run: Played, stack: Stack, books: asyncpg.Connection, economy: Economy
) -> None:
    url = stack.line["provider"].removesuffix("/v1") + "/control/state"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        rows = (await answer.json())["rows"]
    sent = {row["address"]: int(Decimal(row["amount"]) * 10**6) for row in rows if row["sent"]}
    assert len(sent) == sum(row["sent"] for row in rows), "nobody is sent anything twice"
    wallets = {each.account_id: scores.wallet(number).address for number, each in enumerate(economy.creators)}
    wallets["creator-03"] = "TEmGwPeRTPiLFLVfBxXkSP91yc5GMNQhfS"
    assert sent == {wallets[name]: gross - fee for name, (gross, fee) in PAID.items()}
    refs = await refs_of(books)
    holds = await books.fetch(
        "SELECT creator_ref::text, state, amount_micro, sent_micro, fee_micro FROM distribution.payout_holds"
    )
    completed, failed = 4, 5
    assert sorted(map(tuple, holds)) == sorted(
        [(refs[name], completed, gross, gross - fee, fee) for name, (gross, fee) in PAID.items()]
        + [(refs[name], failed, gross, 0, 0) for name, gross in REFUSED.items()]
    )
    burned = sum(row["amount_micro"] for row in holds)
    assert sum(sent.values()) == burned - sum(REFUSED.values()) - sum(fee for _, fee in PAID.values())
    states = dict(re.findall(r"│ ([A-Z][^│]+?) +│[^\n]*│ +(completed|failed) │", first_run.printed))
    names = {each.account_id: each.display_name for each in economy.creators}
    assert states == {names[name]: "completed" for name in PAID} | {names[name]: "failed" for name in REFUSED}


async def test_every_charge_is_in_the_journal_once_with_the_shares_that_the_inputs_give(
    first_run: Played, books: asyncpg.Connection, expected: Expected
) -> None:
    rows = await books.fetch(
        """
        SELECT inference_charge_id, referrer_micro, commons_micro, community_micro, foundation_micro
        FROM distribution.distributions
        """
    )
    assert {row[0]: tuple(row)[1:] for row in rows} == expected.shares
    assert len(rows) == len(expected.shares)


async def test_every_balance_is_what_the_inputs_give(
    first_run: Played, books: asyncpg.Connection, expected: Expected
) -> None:
    rows = await books.fetch("SELECT name, balance_micro FROM distribution.accounts")
    balances = {row["name"]: row["balance_micro"] for row in rows}
    refs = await refs_of(books)
    campaign = await books.fetchval("SELECT campaign_id::text FROM distribution.campaigns WHERE type = 1")
    # What the foundation put into the score pool went out as credits; who got what is another test's.
    rewarded = [name for name in balances if name.endswith(":score:rewards")]
    balances["foundation"] += sum(balances.pop(name) for name in rewarded)
    wanted = {ledger_name(name, refs, campaign): micro for name, micro in expected.accounts.items() if micro}
    assert {name: balance for name, balance in balances.items() if balance} == wanted
    assert sum(balances.values()) == 0


async def pools_of(books: asyncpg.Connection, expected: Expected) -> dict[str, int]:
    """What each week puts into the pool: a tenth of the foundation's shares less what was taken back in that week."""

    def week(at: datetime) -> str:
        year, number, _ = at.isocalendar()
        return f"{year:04}-W{number:02}"

    net: Counter[str] = Counter()
    for charge_id, at in await books.fetch("SELECT inference_charge_id, finalized_at FROM distribution.distributions"):
        net[week(at)] += expected.foundation[charge_id]
    back = await books.fetch(
        "SELECT cause_id, min(recorded_at) FROM distribution.transfers WHERE kind = 3 GROUP BY cause_id"
    )
    assert {payment_id for payment_id, _ in back} == set(expected.foundation_back)
    for payment_id, at in back:
        net[week(at)] -= expected.foundation_back[payment_id]
    return {name: floor(Fraction(micro, 10)) for name, micro in sorted(net.items()) if micro >= 10}


def shared(pool: int, weights: dict[str, int]) -> dict[str, int]:
    """By largest remainder, ties by larger weight, then by id."""
    exact = {name: Fraction(pool * weight, sum(weights.values())) for name, weight in weights.items()}
    parts = {name: floor(part) for name, part in exact.items()}
    by_claim = sorted(weights, key=lambda name: (parts[name] - exact[name], -weights[name], name))
    for name in by_claim[: pool - sum(parts.values())]:
        parts[name] += 1
    return parts


def weights_of(economy: Economy, refs: dict[str, str]) -> dict[str, int]:
    """Scores of the demo's people, from the file itself; by surrogate, because ties go by it."""
    rows = csv.reader(scores.scores_file(economy).decode().splitlines()[1:])
    given = {address: int(Decimal(weight) * 10**14) for address, weight in rows}
    people = scores.holders(economy)
    return {refs[name]: given[scores.wallet(number).address] for number, name in enumerate(people)}


async def test_every_holder_got_its_part_of_what_the_weeks_put_into_the_pool(
    first_run: Played, books: asyncpg.Connection, economy: Economy, expected: Expected
) -> None:
    refs = await refs_of(books)
    weights = weights_of(economy, refs)
    pools = await pools_of(books, expected)
    rows = await books.fetch(
        """
        SELECT period, account_ref::text, reward_micro FROM score.run_rewards JOIN score.runs USING (run_id)
        WHERE state = 4
        """
    )
    given: dict[str, dict[str, int]] = defaultdict(dict)
    for period, account_ref, micro in rows:
        given[period][account_ref] = micro
    assert pools
    assert dict(given) == {period: shared(pool, weights) for period, pool in pools.items()}
    lots = await books.fetch(
        """
        SELECT account_ref::text, sum(granted_micro)::bigint FROM distribution.credit_lots
        WHERE pool = 'score:rewards' GROUP BY account_ref
        """
    )
    total = Counter({ref: sum(parts.get(ref, 0) for parts in given.values()) for ref in weights})
    assert dict(map(tuple, lots)) == {ref: micro for ref, micro in total.items() if micro}


async def refs_of(books: asyncpg.Connection) -> dict[str, str]:
    accounts = await books.fetch("SELECT account_id, account_ref::text FROM referral.accounts")
    return {row["account_id"]: row["account_ref"] for row in accounts}


def ledger_name(name: str, refs: dict[str, str], campaign: str) -> str:
    """What the ledger calls an account."""
    if name.startswith("creator "):
        return f"creator:{refs[name.removeprefix('creator ')]}:settled"
    if name.startswith("credits "):
        return f"credits:{refs[name.removeprefix('credits ')]}:referral:signup"
    return f"campaign:{campaign}:available" if name == "campaign" else name


async def test_every_bonus_was_granted_once_or_denied_for_the_reason_that_the_inputs_give(
    first_run: Played, books: asyncpg.Connection, expected: Expected
) -> None:
    rows = await books.fetch(
        """
        SELECT account_id, state, reason, count(*) FROM referral.bonuses
        JOIN referral.accounts ON account_ref = referrer_ref GROUP BY account_id, state, reason
        """
    )
    assert {tuple(row)[:3]: row["count"] for row in rows} == expected.bonuses
    assert "REFUNDED" in {reason for _, _, reason in expected.bonuses}
    assert "REFERRER_CAP" in {reason for _, _, reason in expected.bonuses}
    unlike = await books.fetch(
        """
        SELECT bonus_id FROM (SELECT * FROM referral.bonuses WHERE state = 'granted') AS granted
        FULL JOIN (SELECT * FROM distribution.credit_lots WHERE pool = 'referral:signup') AS lot
            ON grant_id = bonus_id::text
        WHERE (referrer_ref, amount_micro, granted.lot_id) IS DISTINCT FROM (account_ref, granted_micro, lot.lot_id)
        """
    )
    assert unlike == []


async def test_every_event_reached_the_boards_once(
    first_run: Played, books: asyncpg.Connection, economy: Economy, expected: Expected
) -> None:
    rows = await books.fetch(
        """
        SELECT account_id, referral_count, earned_micro, reversed_micro
        FROM leaderboard.places JOIN referral.accounts ON account_ref = creator_ref WHERE timeframe = 4
        """
    )
    referrals = shown_off(economy, expected)
    assert {row[0]: tuple(row)[1:] for row in rows} == {
        name: (referrals[name], expected.accrued[name], expected.taken_back[name])
        for name in (creator.account_id for creator in economy.creators)
    }


async def test_every_listener_has_applied_every_event(first_run: Played, books: asyncpg.Connection) -> None:
    async def behind() -> dict[tuple[str, str, int], int]:
        heads: dict[tuple[str, int], int] = {}
        for publisher in ("referral", "distribution", "payout", "score", "leaderboard"):
            rows = await books.fetch(f"SELECT topic, partition, position FROM {publisher}.event_heads")  # noqa: S608
            heads |= {(row["topic"], row["partition"]): row["position"] for row in rows}
        found = {}
        for listener in ("leaderboard", "referral"):
            rows = await books.fetch(f"SELECT topic, partition, position FROM {listener}.inbox")  # noqa: S608
            for topic, partition, position in rows:
                found[listener, topic, partition] = heads[topic, partition] - position
        assert {"distribution.finalized.v1", "distribution.payments.v1"} <= {topic for _, topic, _ in found}
        return found

    async def none_is_behind() -> bool:
        return not any((await behind()).values())

    await eventually(none_is_behind, within=90)


async def test_no_account_id_is_in_a_journal_or_an_event(
    first_run: Played, books: asyncpg.Connection, economy: Economy
) -> None:
    ids = [creator.account_id for creator in economy.creators] + [each.account_id for each in economy.sign_ups[:50]]
    found: dict[str, int] = defaultdict(int)
    for table in ("distribution.events", "referral.events", "leaderboard.events"):
        for account_id in ids:
            found[table] += await books.fetchval(
                f"SELECT count(*) FROM {table} WHERE position($1::bytea IN payload) > 0",  # noqa: S608 - own names
                account_id.encode(),
            )
    found["journal"] = await books.fetchval(
        "SELECT count(*) FROM distribution.distributions AS d WHERE d::text ~ 'payer-[0-9]|creator-[0-9]'"
    )
    assert dict(found) == dict.fromkeys(found, 0)


async def test_run_again_it_pays_nothing_twice(
    first_run: Played, stack: Stack, books: asyncpg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = next(tmp_path_factory.getbasetemp().glob("demo*/demo.json"))
    payouts = "SELECT payout_id, revision, money FROM payout.payouts ORDER BY payout_id"
    asked = await books.fetch(payouts)
    before = await books.fetch("SELECT name, balance_micro FROM distribution.accounts ORDER BY name")
    again = await finish(await start_demo(stack, state))
    assert again.code == 0, again.printed
    assert f"{CHARGES:,} charges had been answered before" in again.printed
    assert await books.fetch("SELECT name, balance_micro FROM distribution.accounts ORDER BY name") == before
    assert await books.fetch(payouts) == asked
