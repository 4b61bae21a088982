"""The books by time: what a page, a balance of the past and a statement say is what the journal says."""

import asyncio
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest

from libs.timestamps import to_timestamp
from protos.distribution.v1 import ledger_pb2 as pb
from services.distribution.commands import closing
from services.distribution.commands.posting import post
from services.distribution.model import OPERATING, PAYOUT_RESERVE, AccountKind
from services.distribution.model.holds import HoldState
from services.distribution.model.ledger import TransferKind
from services.distribution.rules import statements as rules
from services.distribution.store import entries as entries_store
from services.distribution.store import statements as store
from tests.conftest import Database
from tests.support.distribution import NOW
from tests.support.eventually import eventually
from tests.support.treasury import Doors, Treasury, opened, served

HOUR = timedelta(hours=1)
PLATFORM = (
    "platform:receipts",
    "commons",
    "foundation",
    "community:artists",
    "community:cooks",
    OPERATING,
    PAYOUT_RESERVE,
)


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution")) as opened_books:
        yield opened_books
        await opened_books.check()


async def some_weeks(books: Treasury, seed: int = 7) -> list[str]:
    """Charges and payouts of two creators over a few weeks, some of it in one hour, with hours closed on the way."""
    chance = random.Random(seed)
    refs = [str(uuid.uuid4()) for _ in range(2)]
    for _ in range(40):
        books.clock.advance(timedelta(minutes=chance.choice([1, 7, 59, 60, 61, 600, 3000])))
        community = chance.choice(["artists", "artists", "cooks"])
        await books.earn(chance.choice([None, *refs]), chance.randrange(1, 10**6), community=community)
        if chance.random() < 0.3:
            await books.settle()
        if chance.random() < 0.3:
            await closing.close_hours(books.postgres, books.clock.now())
    books.clock.advance(timedelta(days=15))
    await books.settle()
    sent, _ = await books.hold(refs[0], 1000)
    failed, _ = await books.hold(refs[0], 77)
    await books.burn(sent)
    books.clock.advance(timedelta(hours=5))
    await books.burn(failed)
    await books.move(failed, HoldState.FAILED)
    await books.move(sent, HoldState.COMPLETED, 990, 10)
    return refs


def accounts_of(refs: list[str]) -> list[str]:
    own = [f"creator:{ref}:{part}" for ref in refs for part in ("pending", "settled", "held")]
    return [*PLATFORM, "platform:paid_out", "provider:in_flight", "provider:sent", *own]


async def journal(books: Treasury, name: str) -> list[tuple[datetime, str, int, int]]:
    """An account's entries, from the view that is the books: when, transfer, kind, amount."""
    async with books.postgres.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT recorded_at, transfer_id::text, kind, amount_micro FROM journal WHERE account = $1
            ORDER BY recorded_at, transfer_id
            """,
            name,
        )
    return [tuple(row) for row in rows]


async def balance_at(books: Treasury, name: str, at: datetime) -> int:
    async with books.postgres.transaction(readonly=True) as connection:
        account = await entries_store.find_account(connection, name)
        return await store.balance_at(connection, account, at) if account else 0


def instants(entries: list[tuple[datetime, str, int, int]]) -> list[datetime]:
    """Around every entry, and around every hour that one is in."""
    made = {entry[0] for entry in entries}
    around = {at + by for at in made for by in (timedelta(0), timedelta(microseconds=1), HOUR)}
    return sorted(around | {rules.hour_of(at) for at in made} | {NOW - HOUR, NOW + timedelta(days=999)})


@pytest.mark.parametrize("closed", [False, True], ids=["all hours open", "hours closed"])
async def test_balances_of_the_past_are_the_sums_of_entries(books: Treasury, *, closed: bool) -> None:
    names = accounts_of(await some_weeks(books))
    if closed:
        books.clock.advance(timedelta(days=1))
        await closing.close_hours(books.postgres, books.clock.now())
        assert await books.value("SELECT count(*) FROM balance_snapshots") > 20
    for name in names:
        entries = await journal(books, name)
        for at in instants(entries):
            assert await balance_at(books, name, at) == sum(each[3] for each in entries if each[0] < at), (name, at)


async def test_snapshots_say_what_the_journal_says_and_make_no_difference(books: Treasury) -> None:
    refs = await some_weeks(books)
    books.clock.advance(timedelta(days=2))
    await closing.close_hours(books.postgres, books.clock.now())
    async with books.postgres.connection() as connection:
        wrong = await connection.fetch(
            """
            SELECT name, until FROM balance_snapshots AS snapshot JOIN accounts USING (account_id)
            CROSS JOIN LATERAL (
                SELECT sum(amount_micro) AS balance, coalesce(sum(amount_micro) FILTER (WHERE kind = 1), 0) AS charged,
                    count(*) FILTER (WHERE kind = 1) AS charges
                FROM journal WHERE account = name AND recorded_at < until
            ) AS entered
            WHERE (balance, charged, entered.charges) <> (snapshot.balance_micro, charged_micro, snapshot.charges)
            """
        )
    assert [tuple(row) for row in wrong] == []
    kept = await books.value("SELECT sum(cardinality(charge_ids)) FROM balance_snapshots")
    assert kept == await books.value("SELECT count(*) FROM distributions WHERE referrer_micro > 0")
    # Not of what transfers alone move for one creator: that is little.
    assert not await books.value(
        "SELECT count(*) FROM balance_snapshots JOIN accounts USING (account_id) WHERE name LIKE 'creator:%:settled'"
    )
    assert refs


@pytest.mark.parametrize("closed", [False, True], ids=["some hours open", "hours closed"])
async def test_pages_are_the_whole_journal_in_order_whatever_their_size(books: Treasury, *, closed: bool) -> None:
    names = accounts_of(await some_weeks(books))
    if closed:
        books.clock.advance(timedelta(days=1))
        await closing.close_hours(books.postgres, books.clock.now())
    async with served(books) as doors:
        for name in names:
            expected = [(each[1], each[2], each[3]) for each in await journal(books, name)]
            for size in (1, 3, 1000):
                assert await listed(doors, name, size) == expected, (name, size)


async def listed(doors: Doors, name: str, size: int, **period: Any) -> list[tuple[str, int, int]]:
    token = ""
    found: list[tuple[str, int, int]] = []
    while True:
        page = await doors.ledger.ListEntries(
            pb.ListEntriesRequest(account_name=name, page_size=size, page_token=token, **period)
        )
        assert len(page.entries) <= size
        assert all(each.account_name == name for each in page.entries)
        found += [(each.transfer_id, each.kind, each.amount_micro) for each in page.entries]
        token = page.next_page_token
        if not token:
            return found


async def test_a_page_keeps_to_its_period(books: Treasury) -> None:
    await some_weeks(books)
    entries = await journal(books, "commons")
    start, end = entries[5][0], entries[20][0]
    expected = [(each[1], each[2], each[3]) for each in entries if start <= each[0] < end]
    async with served(books) as doors:
        period = {"from_time": to_timestamp(start), "to_time": to_timestamp(end)}
        assert await listed(doors, "commons", 4, **period) == expected


async def test_many_entries_of_one_instant_are_paged_without_loss(books: Treasury) -> None:
    ann = str(uuid.uuid4())
    made = sorted([await books.earn(ann, 5) for _ in range(25)])
    async with served(books) as doors:
        for name in ("commons", f"creator:{ann}:pending"):
            assert [each[0] for each in await listed(doors, name, 4) if each[0] in made] == made


@pytest.mark.parametrize("closed", [False, True], ids=["all hours open", "hours closed"])
async def test_a_statement_opens_moves_and_closes_as_the_journal_does(books: Treasury, *, closed: bool) -> None:
    names = accounts_of(await some_weeks(books))
    if closed:
        books.clock.advance(timedelta(days=1))
        await closing.close_hours(books.postgres, books.clock.now())
    chance = random.Random(1)
    async with served(books) as doors:
        for name in names:
            entries = await journal(books, name)
            for _ in range(12):
                start, end = sorted(chance.choices(instants(entries), k=2))
                said = await doors.ledger.GetStatement(
                    pb.GetStatementRequest(account_name=name, from_time=to_timestamp(start), to_time=to_timestamp(end))
                )
                moved: defaultdict[int, list[int]] = defaultdict(list)
                for at, _, kind, amount_micro in entries:
                    if start <= at < end:
                        moved[kind].append(amount_micro)
                assert said.opening_micro == sum(each[3] for each in entries if each[0] < start)
                assert said.closing_micro == sum(each[3] for each in entries if each[0] < end)
                assert [
                    (each.kind, each.increase_micro, each.decrease_micro, each.entries) for each in said.movements
                ] == [
                    (
                        kind,
                        sum(each for each in amounts if each > 0),
                        -sum(each for each in amounts if each < 0),
                        len(amounts),
                    )
                    for kind, amounts in sorted(moved.items())
                ]


async def test_a_transfer_is_found_with_all_its_legs(books: Treasury) -> None:
    ann = await books.creator(1000)
    distribution_id = await books.earn(ann, 500)
    hold, _ = await books.hold(ann, 600)
    await books.burn(hold)
    burn = await books.value("SELECT transfer_id::text FROM transfers WHERE kind = 7")
    async with served(books) as doors:
        legs = (await doors.ledger.GetTransfer(pb.GetTransferRequest(transfer_id=burn))).entries
        assert {leg.account_name: leg.amount_micro for leg in legs} == {
            f"creator:{ann}:held": -600, "platform:paid_out": 600, PAYOUT_RESERVE: -600, "provider:in_flight": 600
        }  # fmt: skip
        assert {leg.cause_id for leg in legs} == {hold.payout_id}
        charge = (await doors.ledger.GetTransfer(pb.GetTransferRequest(transfer_id=distribution_id))).entries
        assert sum(leg.amount_micro for leg in charge) == 0
        assert {leg.kind for leg in charge} == {pb.TRANSFER_KIND_FINALIZE}
        assert Counter(leg.account_name for leg in charge)[f"creator:{ann}:pending"] == 1


async def test_a_transfer_with_very_many_legs_is_read_a_page_at_a_time(books: Treasury) -> None:
    legs = 10_001
    async with books.postgres.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO accounts (name, kind)
            SELECT 'credits:' || number || ':pool', 'credits' FROM generate_series(1, $1) AS number
            """,
            legs - 1,
        )
        transfer_id = await connection.fetchval(
            """
            INSERT INTO transfers (transfer_id, kind, cause_id, recorded_at, account_ids, amounts_micro)
            SELECT gen_random_uuid(), 14, 'many', $1, array_agg(account_id), array_agg(amount) FROM (
                SELECT account_id, 7 AS amount FROM accounts WHERE kind = 'credits'
                UNION ALL SELECT account_id, -70000 FROM accounts WHERE name = 'foundation'
            ) AS legs RETURNING transfer_id::text
            """,
            books.clock.now(),
        )
        await connection.execute("UPDATE accounts SET balance_micro = 7 WHERE kind = 'credits'")
        await connection.execute("UPDATE accounts SET balance_micro = -70000 WHERE name = 'foundation'")
    seen: list[int] = []
    token = ""
    async with served(books) as doors:
        while True:
            page = await doors.ledger.GetTransfer(
                pb.GetTransferRequest(transfer_id=transfer_id, page_size=1000, page_token=token)
            )
            assert len(page.entries) <= 1000
            seen += [each.amount_micro for each in page.entries]
            token = page.next_page_token
            if not token:
                break
        first = await doors.ledger.GetTransfer(pb.GetTransferRequest(transfer_id=transfer_id))
        assert len(first.entries) == 200
    assert (len(seen), sum(seen)) == (legs, 0)


async def test_an_account_that_nothing_ever_moved_has_an_empty_past(books: Treasury) -> None:
    async with served(books) as doors:
        at = to_timestamp(NOW)
        said = await doors.ledger.GetBalanceAt(pb.GetBalanceAtRequest(account_name="community:nobody", at=at))
        assert said.balance == pb.Balance(account_name="community:nobody")
        statement = pb.GetStatementRequest(account_name="community:nobody", from_time=at, to_time=at)
        assert await doors.ledger.GetStatement(statement) == pb.GetStatementResponse()
        assert not (await doors.ledger.ListEntries(pb.ListEntriesRequest(account_name="community:nobody"))).entries


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("GetBalanceAt", pb.GetBalanceAtRequest(account_name="", at=to_timestamp(NOW)), "account_names"),
        ("GetBalanceAt", pb.GetBalanceAtRequest(account_name="commons"), "at"),
        ("ListEntries", pb.ListEntriesRequest(account_name="x" * 129), "account_names"),
        ("ListEntries", pb.ListEntriesRequest(account_name="commons", page_size=1001), "page_size"),
        ("ListEntries", pb.ListEntriesRequest(account_name="commons", page_size=-1), "page_size"),
        ("ListEntries", pb.ListEntriesRequest(account_name="commons", page_token="1.2"), "page_token"),
        (
            "ListEntries",
            pb.ListEntriesRequest(account_name="commons", page_token=f"{'9' * 30}.{'0' * 32}"),
            "page_token",
        ),
        ("GetStatement", pb.GetStatementRequest(account_name="commons", from_time=to_timestamp(NOW)), "to_time"),
        (
            "GetStatement",
            pb.GetStatementRequest(
                account_name="commons", from_time=to_timestamp(NOW), to_time=to_timestamp(NOW - HOUR)
            ),
            "to_time",
        ),
        ("GetTransfer", pb.GetTransferRequest(transfer_id="x"), "transfer_id"),
        ("GetTransfer", pb.GetTransferRequest(transfer_id=str(uuid.uuid4()), page_size=1001), "page_size"),
        ("GetTransfer", pb.GetTransferRequest(transfer_id=str(uuid.uuid4()), page_token="-1"), "page_token"),
        ("GetTransfer", pb.GetTransferRequest(transfer_id=str(uuid.uuid4())), ""),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(books: Treasury, call: str, request_: Any, field: str) -> None:
    async with served(books) as doors:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(doors.ledger, call)(request_)
    expected = grpc.StatusCode.INVALID_ARGUMENT if field else grpc.StatusCode.NOT_FOUND
    assert caught.value.code() is expected


async def test_an_hour_is_not_summed_up_while_an_entry_of_it_is_on_its_way(books: Treasury) -> None:
    """A roll-up that cuts at what it sees, and loses the rows that are still in flight."""
    await books.earn(None, 100)
    late = await books.postgres.dedicated()
    try:
        under_way = late.transaction()
        await under_way.start()
        await post(late, TransferKind.RESERVE_TOP_UP, "late", {OPERATING: -5, PAYOUT_RESERVE: 5}, now=books.clock.now())
        books.clock.advance(2 * HOUR)
        closer = asyncio.ensure_future(closing.close_hours(books.postgres, books.clock.now()))
        await eventually(lambda: books.value("SELECT fenced_at IS NOT NULL FROM closed_hours"))
        assert not await books.value("SELECT count(*) FROM balance_snapshots")
        await under_way.commit()
    finally:
        await late.close()
    assert await closer == 1
    assert await balance_at(books, PAYOUT_RESERVE, books.clock.now()) == 5
    assert (
        await books.value(
            "SELECT s.balance_micro FROM balance_snapshots AS s JOIN accounts USING (account_id) WHERE name = $1",
            PAYOUT_RESERVE,
        )
        == 5
    )


async def test_nothing_is_recorded_in_an_hour_that_is_closed(books: Treasury) -> None:
    await books.earn(None, 100)
    then = books.clock.now()
    books.clock.advance(2 * HOUR)
    await closing.close_hours(books.postgres, books.clock.now())
    async with books.postgres.connection() as connection:
        with pytest.raises(asyncpg.SerializationError):
            async with connection.transaction():
                await post(
                    connection, TransferKind.RESERVE_TOP_UP, "late", {OPERATING: -5, PAYOUT_RESERVE: 5}, now=then
                )
    now, books.clock = books.clock, type(books.clock)(then)
    with pytest.raises(asyncpg.SerializationError):
        await books.earn(None, 1)
    books.clock = now
    # Within the grace it is taken.
    books.clock.advance(rules.hour_of(books.clock.now()) - books.clock.now() + 3 * HOUR + timedelta(minutes=9))
    await closing.close_hours(books.postgres, books.clock.now())
    books.clock = type(books.clock)(rules.hour_of(books.clock.now()) - timedelta(microseconds=1))
    await books.earn(None, 1)


async def test_a_year_that_passes_at_once_is_closed_in_one_run_and_twice_is_once(books: Treasury) -> None:
    for _ in range(3):
        await books.earn(None, 10)
        books.clock.advance(timedelta(days=100))
    hours = await asyncio.gather(*(closing.close_hours(books.postgres, books.clock.now()) for _ in range(4)))
    assert sum(hours) == 3
    assert await closing.close_hours(books.postgres, books.clock.now()) == 0
    assert await books.value("SELECT count(*) FROM balance_snapshots") == 3 * 4
    assert await books.value("SELECT summed_until = fenced_until FROM closed_hours")


async def test_the_books_by_time_are_read_by_index(books: Treasury) -> None:
    """Plans for a journal that is large: it is not read from end to end, and only what is of one instant is sorted."""
    await some_weeks(books)
    async with books.postgres.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        for kind, owner in ((AccountKind.COMMONS, ""), (AccountKind.CREATOR_PENDING, str(uuid.uuid4()))):
            query = "EXPLAIN " + entries_store.charge_entries_query(kind)
            plan = await connection.fetch(query, owner, rules.BEGINNING, rules.BEFORE_ALL, rules.END, 10)
            text = "\n".join(row[0] for row in plan)
            assert "Index Scan using distributions_0_recorded_at_idx" in text
            assert "Incremental Sort" in text
            assert "Seq Scan" not in text
