"""Who got what, and whether it adds up: read through everybody's doors, and checked against the inputs."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from deploy.local.demo import bonuses
from deploy.local.demo.economy import Economy
from deploy.local.demo.front_door import FrontDoor
from deploy.local.demo.patience import patience
from deploy.local.demo.payouts import Paid
from deploy.local.demo.scores import Rewards
from protos.distribution.v1 import ledger_pb2
from protos.distribution.v1.distribution_pb2 import FinalizeResponse
from protos.distribution.v1.ledger_pb2_grpc import LedgerServiceStub

BOARD_WAIT_S = 180
SETTLED_WAIT_S = 180


@dataclass(frozen=True, slots=True)
class CreatorRow:
    """One creator: what the board shows, what billing was answered, and the ledger's seven buckets."""

    account_id: str
    display_name: str
    referrals: int
    charges: int
    earned_micro: int
    board_micro: int
    ledger: ledger_pb2.GetEarningsResponse
    bonuses: Counter[str]

    @property
    def bonus_micro(self) -> int:
        """What it was granted in credits for those it brought."""
        return self.bonuses["granted"] * bonuses.BONUS_MICRO


@dataclass(slots=True)
class Report:
    """Everything that is printed; `checks` says what was looked at and whether it held."""

    creators: list[CreatorRow] = field(default_factory=list)
    parties: dict[str, int] = field(default_factory=dict)
    rewards: Sequence[Rewards] = ()
    paid: Paid = field(default_factory=Paid)
    checks: list[tuple[str, bool]] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)


async def collect(
    stack: Mapping[str, str],
    front_door: FrontDoor,
    economy: Economy,
    answers: Mapping[str, FinalizeResponse],
    rewards: Sequence[Rewards],
    paid: Paid,
) -> Report:
    """Reads the ledger, waits until board and bonuses have what is in it, and reads those."""
    earned, charges = _by_creator(economy, answers)
    gateway = stack["gateway"]
    report = Report(urls={"leaderboard": f"{gateway}/api/referrals/leaderboard", "docs": f"{gateway}/docs"})
    async with grpc.aio.insecure_channel(stack["distribution"]) as channel:
        stub = LedgerServiceStub(channel)
        ledgers = {
            creator: await stub.GetEarnings(ledger_pb2.GetEarningsRequest(account_id=creator.account_id), timeout=10)
            for creator in economy.creators
        }
        kept_micro = sum(ledger.accrued_micro - ledger.reversed_micro for ledger in ledgers.values())
        board = await _settled_board(front_door, economy, kept_micro)
        earned_bonuses = await bonuses.decided(front_door, economy)
        trial = await stub.GetTrialBalance(ledger_pb2.GetTrialBalanceRequest(), timeout=30)
    for creator, ledger in ledgers.items():
        row = board.get(creator.display_name, {})
        report.creators.append(
            CreatorRow(
                account_id=creator.account_id,
                display_name=creator.display_name,
                referrals=int(row.get("referral_count", 0)),
                charges=charges[creator.account_id],
                earned_micro=earned[creator.account_id],
                board_micro=int(row.get("earned_micro", 0)),
                ledger=ledger,
                bonuses=earned_bonuses[creator.account_id],
            )
        )
    report.parties = {family.family: family.balance_micro for family in trial.families}
    report.creators.sort(key=lambda row: -row.earned_micro)
    report.rewards = rewards
    report.paid = paid
    report.checks = _checks(report, economy, answers, trial.total_micro)
    report.checks += _bonus_checks(report, earned_bonuses, bonuses.expected(economy))
    report.checks += _reward_checks(report)
    report.checks += _payout_checks(report)
    return report


async def settled(distribution: str, economy: Economy) -> None:
    """Returns when nothing of any creator's is pending any more; raises TimeoutError where that does not come."""
    async with grpc.aio.insecure_channel(distribution) as channel, patience(SETTLED_WAIT_S, "all earnings are settled"):
        ledger = LedgerServiceStub(channel)
        for creator in economy.creators:
            request = ledger_pb2.GetEarningsRequest(account_id=creator.account_id)
            while (await ledger.GetEarnings(request, timeout=10)).pending_micro:  # noqa: ASYNC110 - asks the server
                await asyncio.sleep(0.1)


def _by_creator(economy: Economy, answers: Mapping[str, FinalizeResponse]) -> tuple[Counter[str], Counter[str]]:
    brought_by = economy.creator_of()
    earned: Counter[str] = Counter()
    charges: Counter[str] = Counter()
    for charge in economy.charges:
        creator = brought_by[charge.payer_account_id]
        if creator is not None:
            earned[creator.account_id] += answers[charge.inference_charge_id].referrer_micro
            charges[creator.account_id] += 1
    return earned, charges


async def _settled_board(front_door: FrontDoor, economy: Economy, kept_micro: int) -> dict[str, dict[str, Any]]:
    """The all-time board once it shows what was earned and not taken back, or as it is when the wait is over."""
    names = {creator.display_name for creator in economy.creators}
    before: dict[str, dict[str, Any]] = {}
    for _ in range(2 * BOARD_WAIT_S):
        rows = {row["display_name"]: row for row in await front_door.board() if row["display_name"] in names}
        shown = sum(int(row["earned_micro"]) for row in rows.values())
        # Who counts no more is told a moment later than what was earned.
        if shown == kept_micro and rows == before:
            break
        before = rows
        await asyncio.sleep(0.5)
    return rows


def _checks(
    report: Report, economy: Economy, answers: Mapping[str, FinalizeResponse], total_micro: int
) -> list[tuple[str, bool]]:
    revenue_micro = sum(charge.revenue_micro for charge in economy.charges)
    shares_micro = sum(
        answer.referrer_micro + answer.commons_micro + answer.community_micro + answer.foundation_micro
        for answer in answers.values()
    )
    earned_micro = sum(row.earned_micro for row in report.creators)
    held_micro = sum(amount for family, amount in report.parties.items() if family.startswith("creator:"))
    reserve_micro = report.parties.get("treasury:payout_reserve", 0)
    receipts_micro = report.parties.get("platform:receipts", 0)
    refunded_micro = sum(purchase.refunded_micro for purchase in economy.purchases)
    # Of a refund in part each charge gives back its part rounded down.
    to_the_micro = 0 <= -receipts_micro - revenue_micro + refunded_micro <= len(economy.charges)
    loss_micro = -report.parties.get("platform:clawback_loss", 0)
    in_ledger = all(row.earned_micro == row.ledger.accrued_micro for row in report.creators)
    parts = ("withdrawable_micro", "paid_out_micro", "reversed_micro")
    adds_up = all(sum(getattr(row.ledger, part) for part in parts) == row.earned_micro for row in report.creators)
    on_board = all(row.earned_micro - row.ledger.reversed_micro == row.board_micro for row in report.creators)
    return [
        (f"every charge answered: {len(answers):,} of {len(economy.charges):,}", len(answers) == len(economy.charges)),
        (f"conservation: shares {usd(shares_micro)} = revenue {usd(revenue_micro)}", shares_micro == revenue_micro),
        (f"receipts {usd(-receipts_micro)} = revenue less refunds of {usd(refunded_micro)}", to_the_micro),
        (f"the books sum to zero: {usd(total_micro)}", total_micro == 0),
        (f"creators were answered {usd(earned_micro)}, and the ledger accrued it for them", in_ledger),
        (
            f"all of it is paid, payable or taken back; the platform bore {usd(loss_micro)} of a late refund",
            adds_up,
        ),
        ("the leaderboard shows what was not taken back", on_board),
        (f"the reserve backs it: {usd(reserve_micro)} ≥ {usd(held_micro)}", reserve_micro >= held_micro),
    ]


def _bonus_checks(report: Report, found: bonuses.Bonuses, expected: bonuses.Bonuses) -> list[tuple[str, bool]]:
    granted_micro = sum(row.bonus_micro for row in report.creators)
    rewarded_micro = sum(each.pool_micro for each in report.rewards)
    credits_micro = report.parties.get("credits:*", 0) - rewarded_micro
    unspent_micro = sum(amount for family, amount in report.parties.items() if family.startswith("campaign:"))
    denied = sum(row.bonuses["denied"] for row in report.creators)
    told = f"signup bonuses of {usd(granted_micro)} were granted and {denied} denied, as the inputs say"
    budget = f"granted and unspent are the campaign's budget of {usd(bonuses.BUDGET_MICRO)}"
    return [
        (told, found == expected and credits_micro == granted_micro),
        (budget, granted_micro + unspent_micro == bonuses.BUDGET_MICRO),
    ]


def _reward_checks(report: Report) -> list[tuple[str, bool]]:
    given_micro = sum(each.pool_micro for each in report.rewards)
    people = len(report.rewards[0].by_account) if report.rewards else 0
    return [
        (
            f"score rewards of {usd(given_micro)} went to {people} holders, each of whom can prove its part",
            bool(report.rewards) and all(each.proved for each in report.rewards),
        ),
        ("the pool is empty: all of what the foundation put in was shared", not _pool_micro(report)),
    ]


def _pool_micro(report: Report) -> int:
    return report.parties.get("foundation:score_rewards", 0)


def _payout_checks(report: Report) -> list[tuple[str, bool]]:
    told, balance = report.paid.provider, report.parties
    sent_micro = int(sum(told.sent) * 1_000_000)
    done = {name: each for name, each in report.paid.by_account.items() if each["state"] == "completed"}
    gross = {name: int(each["amount_micro"]) for name, each in done.items()}
    fees_micro = sum(int(each["fee_micro"]) for each in done.values())
    paid_micro = sum(gross.values())
    in_books = tuple(balance.get(name, 0) for name in ("provider:sent", "provider:fees", "platform:paid_out"))
    debited = {row.account_id: row.ledger.paid_out_micro for row in report.creators if row.ledger.paid_out_micro}
    on_its_way = balance.get("provider:in_flight", 0) + sum(row.ledger.held_micro for row in report.creators)
    failed = len(report.paid.by_account) - len(done)
    return [
        (
            f"the provider sent {usd(sent_micro)}: what was paid out, {usd(paid_micro)}, less fees",
            in_books == (sent_micro, fees_micro, paid_micro) and sent_micro + fees_micro == paid_micro,
        ),
        (f"{len(done)} creators are debited that, and nothing else is on its way", debited == gross and not on_its_way),
        (f"{failed} payout failed, and its money is its creator's again", failed == 1 and debited == gross),
        (
            f"all {told.callbacks_made} signed callbacks of the provider were taken",
            0 < told.callbacks_made <= told.callbacks_taken,
        ),
    ]


def show(report: Report, console: Console) -> bool:
    """Prints it all; true when every check holds."""
    # Without padding it fits into 80 columns.
    table = Table(title="Who earned what", padding=0)
    table.add_column("creator", no_wrap=True)
    for column in ("brought", "charges", "earned", "taken back", "payable"):
        table.add_column(column, justify="right")
    for row in report.creators:
        ledger = row.ledger
        amounts = row.earned_micro, ledger.reversed_micro, ledger.withdrawable_micro
        table.add_row(row.display_name, f"{row.referrals:,}", f"{row.charges:,}", *map(usd, amounts))
    console.print(table)
    console.print(_payout_table(report))
    console.print(_bonus_table(report))
    console.print(_reward_table(report))
    books = Table(title="The books")
    books.add_column("account")
    books.add_column("balance", justify="right")
    for family, balance_micro in sorted(report.parties.items()):
        books.add_row(family, usd(balance_micro))
    console.print(books)
    for what, holds in report.checks:
        console.print(f"{'✓' if holds else '✗ WRONG:'} {what}", style=None if holds else "bold red")
    for name, url in report.urls.items():
        console.print(f"{name}: {url}")
    return all(holds for _, holds in report.checks)


def _bonus_table(report: Report) -> Table:
    table = Table(title="Signup bonuses, in credits for inference")
    table.add_column("creator", no_wrap=True)
    for column in ("granted", "denied", "credits"):
        table.add_column(column, justify="right")
    for row in report.creators:
        table.add_row(row.display_name, f"{row.bonuses['granted']}", f"{row.bonuses['denied']}", usd(row.bonus_micro))
    return table


def _payout_table(report: Report) -> Table:
    table = Table(title="Payouts")
    table.add_column("creator", no_wrap=True)
    for column in ("asked for", "fee", "sent", "state"):
        table.add_column(column, justify="right")
    for row in report.creators:
        if asked := report.paid.by_account.get(row.account_id):
            amounts = (usd(int(asked[name])) for name in ("amount_micro", "fee_micro"))
            table.add_row(row.display_name, *amounts, asked["sent_amount"], asked["state"])
    return table


def _reward_table(report: Report) -> Table:
    table = Table(title="Score rewards, in credits for inference")
    table.add_column("holder", no_wrap=True)
    for rewards in report.rewards:
        table.add_column(rewards.period, justify="right")
    accounts = {account_id: None for rewards in report.rewards for account_id in rewards.by_account}
    largest = sorted(accounts, key=lambda account_id: -report.rewards[0].by_account[account_id])[:8]
    for account_id in largest:
        table.add_row(account_id, *(usd(rewards.by_account[account_id]) for rewards in report.rewards))
    return table


def usd(amount_micro: int) -> str:
    """Dollars with all six places, without a float."""
    sign = "-" if amount_micro < 0 else ""
    dollars, micro = divmod(abs(amount_micro), 1_000_000)
    return f"{sign}${dollars:,}.{micro:06}"
