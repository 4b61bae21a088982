"""The auditor finds what was planted, all of it and nothing else."""

# ruff: noqa: S608 - planting is by hand

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import pytest

from libs import rpc
from protos.distribution.v1 import audit_pb2 as pb
from protos.distribution.v1 import audit_pb2_grpc
from services.distribution.commands import audit as commands
from services.distribution.commands.audit import Auditor
from services.distribution.model.audit import Result
from services.distribution.servicer import audit as servicer
from services.distribution.store import checks
from tests.conftest import Database
from tests.support.campaigns import campaigns_running, refusal
from tests.support.databases import Databases
from tests.support.distribution import ledger_running, referral_running
from tests.support.eventually import eventually
from tests.support.histories import lived
from tests.support.treasury import Treasury, opened


@pytest.fixture(scope="module")
async def history(databases: Databases) -> AsyncIterator[str]:
    """The name of a database in which everything has happened; tests work on copies of it."""
    name, referral_name = await databases.create("distribution"), await databases.create("referral")
    async with (
        referral_running(databases.dsn_of(referral_name)) as referral,
        ledger_running(databases.dsn_of(name), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        await lived(ledger, campaigns)
    yield name
    await databases.drop(referral_name)
    await databases.drop(name)


@pytest.fixture
async def books(databases: Databases, history: str) -> AsyncIterator[str]:
    copy = f"copy_{uuid.uuid4().hex}"
    await databases._execute(f'CREATE DATABASE "{copy}" TEMPLATE "{history}" STRATEGY FILE_COPY')
    yield databases.dsn_of(copy)
    await databases.drop(copy)


async def examine(dsn: str, *plants: str) -> dict[str, Result]:
    """Plants corruption behind the triggers' back; what an audit finds."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "distribution"})
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for plant in plants:
                await connection.execute(plant)
        _, results = await commands.examine(connection)
    finally:
        await connection.close()
    return {each.invariant: each for each in results}


async def test_a_history_of_everything_passes(books: str) -> None:
    found = await examine(books)
    assert {name: each.first for name, each in found.items() if each.violations} == {}
    assert set(found) == {each.invariant for each in checks.ALL} | {checks.TOLD.invariant}


async def test_empty_books_pass(database: Database) -> None:
    assert not any(each.violations for each in (await examine(await database("distribution"))).values())


_CHARGE = "inference_charge_id = 'plain-4'"
_ID = f"(SELECT distribution_id FROM distributions WHERE {_CHARGE})"
_REF = f"(SELECT referrer_ref FROM distributions WHERE {_CHARGE})"


class Plant(NamedTuple):
    """Corruption, what has to find it, and a part of how the first row is named."""

    finds: set[str]
    row: str
    statements: tuple[str, ...]


def _move(name: str, by: int) -> str:
    return f"UPDATE accounts SET balance_micro = balance_micro + {by} WHERE name = '{name}'"


_DROP = "ALTER TABLE {} DROP CONSTRAINT {}"

PLANTS = {
    "a micro is lost in a charge": Plant(
        {"CONSERVATION", "BALANCE_SNAPSHOTS"},
        "plain-4",
        (
            _DROP.format("distributions", "distributions_conserved"),
            f"UPDATE distributions SET commons_micro = commons_micro - 1 WHERE {_CHARGE}",
            _move("commons", -1),
        ),
    ),
    "a micro goes to another party": Plant(
        {"SPLIT", "BALANCE_SNAPSHOTS"},
        "plain-4",
        (
            (
                f"UPDATE distributions SET commons_micro = commons_micro - 1, community_micro = community_micro + 1"
                f" WHERE {_CHARGE}"
            ),
            _move("commons", -1),
            _move("community:artists", 1),
        ),
    ),
    "a rule not yet in force": Plant(
        {"RULE_IN_FORCE"},
        "plain-4",
        (
            (
                "INSERT INTO rules SELECT 2, referrer_bps, commons_bps, community_bps, foundation_bps,"
                " margin_floor_bps, '2030-01-01' FROM rules WHERE rule_version = 1"
            ),
            f"UPDATE distributions SET rule_version = 2 WHERE {_CHARGE}",
        ),
    ),
    "a reason that is not the right one": Plant(
        {"OUTCOME"},
        "thin",
        ("UPDATE distributions SET referrer_outcome = 8 WHERE inference_charge_id = 'thin'",),
    ),
    "referrers got more than the rule's share": Plant(
        {"SPLIT", "REVENUE_SHARE_CAP"},
        "",
        ("UPDATE rules SET referrer_bps = 999",),
    ),
    "one distribution for two charges": Plant(
        {"IDEMPOTENT_DISTRIBUTION"},
        "",
        (
            (
                "UPDATE distributions SET distribution_id = (SELECT distribution_id FROM distributions"
                " WHERE inference_charge_id = 'thin') WHERE inference_charge_id = 'given'"
            ),
        ),
    ),
    "one charge distributed twice": Plant(
        {"IDEMPOTENT_DISTRIBUTION"},
        "given",
        (
            "ALTER TABLE distributions DROP CONSTRAINT distributions_pkey",
            (
                "CREATE TEMPORARY TABLE twice ON COMMIT DROP AS SELECT * FROM distributions"
                " WHERE inference_charge_id = 'given'"
            ),
            "UPDATE twice SET distribution_id = gen_random_uuid()",
            "INSERT INTO distributions SELECT * FROM twice",
        ),
    ),
    "a payer with two referrers": Plant(
        {"ATTRIBUTION"},
        "",
        ("UPDATE distributions SET referrer_ref = gen_random_uuid() WHERE inference_charge_id = 'thin'",),
    ),
    "a day's foundation share": Plant(
        {"FOUNDATION_DAYS"},
        "2026",
        (
            (
                "UPDATE foundation_days SET "
                " foundation_micro = foundation_micro + 1 WHERE day = (SELECT max(day) FROM foundation_days)"
            ),
        ),
    ),
    "a transfer that does not balance": Plant(
        {"TRANSFERS_BALANCED", "TRANSFER_ENTRIES", "ACCOUNT_BALANCES", "BALANCE_SNAPSHOTS"},
        "",
        (
            _DROP.format("transfers", "transfers_balanced"),
            (
                "UPDATE transfers SET amounts_micro[1] = amounts_micro[1] + 1 WHERE kind = 13"
                " AND transfer_id = (SELECT min(transfer_id::text)::uuid FROM transfers WHERE kind = 13)"
            ),
        ),
    ),
    "an entry that is not its transfer's": Plant(
        {"TRANSFER_ENTRIES"},
        "",
        ("UPDATE transfer_entries SET amount_micro = amount_micro + 1 WHERE kind = 15 AND amount_micro > 0",),
    ),
    "an entry that is gone": Plant({"TRANSFER_ENTRIES"}, "", ("DELETE FROM transfer_entries WHERE kind = 12",)),
    "a balance of the platform": Plant({"ACCOUNT_BALANCES"}, "commons", (_move("commons", 1),)),
    "the reserve": Plant({"RESERVE_BALANCES"}, "treasury:payout_reserve", (_move("treasury:payout_reserve", -1),)),
    "a creator's balance": Plant(
        {"RESERVE_BALANCES"},
        ":settled",
        ("UPDATE accounts SET balance_micro = balance_micro + 5 WHERE kind = 'creator_settled'",),
    ),
    "an open share that nobody earned": Plant(
        {"PENDING_OPEN", "EARNING_HISTORY"},
        "",
        ("UPDATE pending_earnings SET amount_micro = amount_micro + 1 WHERE inference_charge_id = 'pending'",),
    ),
    "a share settled twice in its history": Plant(
        {"EARNING_HISTORY", "EARNING_TRANSFERS"},
        "plain-4",
        (
            (
                "INSERT INTO earning_changes SELECT distribution_id, gen_random_uuid(), creator_ref, change,"
                f" amount_micro, changed_at FROM earning_changes WHERE distribution_id = {_ID}"
            ),
        ),
    ),
    "a share settled under another transfer": Plant(
        {"EARNING_TRANSFERS"},
        "",
        (f"UPDATE earning_changes SET transfer_id = gen_random_uuid() WHERE distribution_id = {_ID}",),
    ),
    "more matures than was settled": Plant(
        {"MATURING"}, "", ("UPDATE maturing_earnings SET amount_micro = amount_micro + 1",)
    ),
    "a creator that was paid out more": Plant(
        {"CREATOR_TOTALS"}, "", (f"UPDATE creator_states SET paid_out_micro = 1 WHERE creator_ref = {_REF}",)
    ),
    "a creator of whom less was taken back": Plant(
        {"CREATOR_TOTALS"}, "", (f"UPDATE creator_states SET reversed_micro = 0 WHERE creator_ref = {_REF}",)
    ),
    "a refund over what was paid": Plant(
        {"REVERSALS_BOUNDED", "REVERSAL_TRANSFERS", "FUNDINGS"},
        "funded-late",
        (
            (
                "UPDATE charge_reversals SET refunded_micro = refunded_micro + 1, "
                " foundation_micro = foundation_micro + 1 WHERE payment_id = 'late'"
            ),
        ),
    ),
    "a reversal that its transfer did not make": Plant(
        {"REVERSAL_TRANSFERS"},
        "",
        (
            (
                "UPDATE charge_reversals SET clawed_back_micro = clawed_back_micro - 1, loss_micro = loss_micro + 1"
                " WHERE payment_id = 'early'"
            ),
        ),
    ),
    "a charge that another payment funded": Plant(
        {"FUNDINGS"},
        "kept",
        ("UPDATE charge_fundings SET distribution_id = gen_random_uuid() WHERE payment_id = 'kept'",),
    ),
    "a payment of which more is spent": Plant(
        {"PAYMENTS_SPENT"}, "kept", ("UPDATE payments SET spent_micro = spent_micro + 1 WHERE payment_id = 'kept'",)
    ),
    "a hold of more than is held": Plant(
        {"PAYOUT_HOLDS", "HOLD_TRANSFERS"},
        "",
        ("UPDATE payout_holds SET amount_micro = amount_micro + 1 WHERE state = 1",),
    ),
    "a hold whose state nobody entered": Plant(
        {"PAYOUT_HOLDS", "HOLD_TRANSFERS"}, "", ("UPDATE payout_holds SET state = 2 WHERE state = 1",)
    ),
    "a state under another transfer": Plant(
        {"HOLD_TRANSFERS"}, "", ("UPDATE payout_hold_states SET transfer_id = gen_random_uuid() WHERE state = 4",)
    ),
    "a top-up that nobody approved": Plant(
        {"RESERVE_BACKING", "RESERVE_CHANGES"},
        "",
        (
            (
                "WITH made AS (SELECT gen_random_uuid() AS id, min(account_id) FILTER (WHERE kind = 'operating') AS a,"
                " min(account_id) FILTER (WHERE kind = 'payout_reserve') AS b FROM accounts),"
                " moved AS (INSERT INTO transfers SELECT id, 10, 'x', now(), ARRAY[a, b], ARRAY[-500, 500] FROM made)"
                " INSERT INTO transfer_entries (account_id, transfer_id, amount_micro, kind, recorded_at)"
                " SELECT a, id, -500, 10, now() FROM made UNION ALL SELECT b, id, 500, 10, now() FROM made"
            ),
            _move("treasury:operating", -500),
            _move("treasury:payout_reserve", 500),
        ),
    ),
    "a reserve that was emptied": Plant(
        {"TREASURY_SOLVENCY", "RESERVE_BACKING", "RESERVE_CHANGES", "NOT_OVERDRAWN"},
        "",
        (
            _DROP.format("accounts", "accounts_not_overdrawn"),
            (
                "WITH made AS (SELECT gen_random_uuid() AS id, min(account_id) FILTER (WHERE kind = 'operating') AS a,"
                " min(account_id) FILTER (WHERE kind = 'payout_reserve') AS b FROM accounts),"
                " moved AS (INSERT INTO transfers SELECT id, 11, 'x', now(), ARRAY[a, b], "
                " ARRAY[10^12, -(10^12)]::bigint[] FROM made) INSERT INTO transfer_entries (account_id,"
                " transfer_id, amount_micro, kind, recorded_at)"
                " SELECT a, id, 10^12, 11, now() FROM made UNION ALL SELECT b, id, -(10^12), 11, now() FROM made"
            ),
            _move("treasury:operating", 10**12),
            _move("treasury:payout_reserve", -(10**12)),
        ),
    ),
    "what came back to who had forfeited": Plant(
        {"FORFEITURES"},
        "",
        ("UPDATE payout_hold_states SET forfeit_transfer_id = NULL WHERE state = 5",),
    ),
    "a forfeiture that nobody decided": Plant({"FORFEITURES"}, "", ("DELETE FROM forfeitures",)),
    "what burns are checked against": Plant({"OWED"}, "owed_micro", ("UPDATE owed SET owed_micro = owed_micro - 1",)),
    "a balance of the past": Plant(
        {"BALANCE_SNAPSHOTS"},
        "commons until 2026-03-01",
        (
            (
                "UPDATE balance_snapshots SET balance_micro = balance_micro + 1 WHERE account_id ="
                " (SELECT account_id FROM accounts WHERE name = 'commons')"
            ),
        ),
    ),
    "an hour that names another charge": Plant(
        {"BALANCE_SNAPSHOTS"},
        ":pending until",
        ("UPDATE balance_snapshots SET charge_ids[1] = 'forged' WHERE charge_ids IS NOT NULL",),
    ),
    "an hour that was cut before its last charge": Plant(
        {"BALANCE_SNAPSHOTS"},
        "platform:receipts until",
        (
            (
                "UPDATE balance_snapshots SET charged_micro = charged_micro + 1, balance_micro = balance_micro + 1,"
                " charges = charges - 1 WHERE account_id ="
                " (SELECT account_id FROM accounts WHERE name = 'platform:receipts')"
            ),
        ),
    ),
    "an hour that is gone": Plant({"BALANCE_SNAPSHOTS"}, "", ("DELETE FROM balance_snapshots",)),
    "a lot that was never funded": Plant(
        {"BOUNDED_LIABILITY", "CAMPAIGN_TOTALS", "CREDIT_LOTS", "GRANT_TRANSFERS"},
        "",
        (
            (
                "INSERT INTO credit_lots SELECT gen_random_uuid(), account_ref, pool, campaign_id, transfer_id,"
                " 'forged', 10^9, 10^9, granted_at FROM credit_lots WHERE pool = 'referral:signup' LIMIT 1"
            ),
        ),
    ),
    "a campaign that granted less": Plant(
        {"CAMPAIGN_TOTALS"}, "", ("UPDATE campaigns SET granted_micro = granted_micro - 1 WHERE granted_micro > 0",)
    ),
    "a cap that was reset": Plant({"CAMPAIGN_TOTALS"}, "", ("UPDATE campaign_accounts SET taken_micro = 0",)),
    "a reservation of more": Plant(
        {"RESERVATIONS", "CAMPAIGN_TOTALS"},
        "",
        ("UPDATE reservations SET amount_micro = amount_micro + 1 WHERE state = 1",),
    ),
    "a staged grant of less": Plant(
        {"RESERVATIONS"}, "", ("UPDATE staged_grants SET reserved_micro = reserved_micro - 1 WHERE state = 1",)
    ),
    "a lot of which more is left": Plant(
        {"CREDIT_LOTS", "BURNS"},
        "",
        ("UPDATE credit_lots SET remaining_micro = remaining_micro + 1 WHERE remaining_micro < granted_micro",),
    ),
    "a lot under another transfer": Plant(
        {"GRANT_TRANSFERS"},
        "",
        ("UPDATE credit_lots SET transfer_id = gen_random_uuid() WHERE pool <> 'referral:signup'",),
    ),
    "a burn that is forgotten": Plant({"BURNS"}, "", ("DELETE FROM burns WHERE inference_charge_id = 'burned'",)),
    "a burn that its charge does not cover": Plant(
        {"REAL_MONEY"},
        "organic",
        ("UPDATE burns SET inference_charge_id = 'organic' WHERE inference_charge_id = 'burned'",),
    ),
    "a score pool funded with more than was moved": Plant(
        {"SCORE_FUNDINGS"},
        "2026-W01",
        (
            (
                "INSERT INTO score_pool_fundings (period, span, net_foundation_micro, funding_bps, funded_micro,"
                " transfer_id, operator_id, reason, funded_at)"
                " VALUES ('2026-W01', '[2026-01-01,2026-01-08)', 100, 1000, 11, gen_random_uuid(), 'o', 'r', now())"
            ),
        ),
    ),
    "an event that is gone": Plant(
        {"EVENT_POSITIONS"},
        "distribution.earnings.v1",
        (
            (
                "INSERT INTO events SELECT topic, partition, 2, event_id, key, payload, occurred_at, traceparent"
                " FROM outbox WHERE topic = 'distribution.earnings.v1' LIMIT 1"
            ),
        ),
    ),
    "a charge that nobody was told of": Plant(
        {"CHARGES_TOLD"},
        "pending",
        ("DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox WHERE topic = 'distribution.finalized.v1')",),
    ),
    "a charge that was told twice": Plant(
        {"CHARGES_TOLD"},
        "pending",
        (
            (
                "INSERT INTO outbox (event_id, topic, partition, key, payload, occurred_at) SELECT event_id, topic,"
                " partition, key, payload, occurred_at FROM outbox"
                " WHERE id = (SELECT max(id) FROM outbox WHERE topic = 'distribution.finalized.v1')"
            ),
        ),
    ),
}


@pytest.mark.parametrize("what", PLANTS)
async def test_the_auditor_bites(books: str, what: str) -> None:
    plant = PLANTS[what]
    found = {name: each for name, each in (await examine(books, *plant.statements)).items() if each.violations}
    assert set(found) == plant.finds, [each.first[0] for each in found.values()]
    first = [each.first[0] for each in found.values()]
    assert any(plant.row in each.row_key for each in first), first
    assert all(each.table and each.row_key and each.expected != each.found for each in first), first


def test_every_invariant_is_broken_by_some_plant() -> None:
    known = {each.invariant for each in checks.ALL} | {checks.TOLD.invariant}
    assert set().union(*(plant.finds for plant in PLANTS.values())) == known


class Doors(NamedTuple):
    """The service and its auditor on real books."""

    treasury: Treasury
    stub: audit_pb2_grpc.AuditServiceStub


@asynccontextmanager
async def served(dsn: str, *, replicas: int = 1) -> AsyncIterator[Doors]:
    server = rpc.Server("distribution", test_mode=True, drain_wait_seconds=0)
    async with opened(dsn) as treasury, asyncio.TaskGroup() as group:
        auditors = [group.create_task(Auditor(treasury.postgres, treasury.clock).run()) for _ in range(replicas)]
        server.add(
            audit_pb2_grpc.add_AuditServiceServicer_to_server,
            servicer.AuditServicer(treasury.postgres, treasury.clock),
            "creator.distribution.v1.AuditService",
            servicer.CALLERS,
        )
        await server.start()
        await server.ready()
        try:
            async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous") as channel:
                yield Doors(treasury, audit_pb2_grpc.AuditServiceStub(channel))
        finally:
            await server.drain(hasty=True)
            for auditor in auditors:
                auditor.cancel()


def asked(request_id: str = "") -> pb.RunAuditRequest:
    return pb.RunAuditRequest(request_id=request_id or str(uuid.uuid4()), operator_id="olga", reason="to be sure")


async def report(doors: Doors, audit_id: str) -> pb.GetAuditReportResponse:
    async def ended() -> pb.GetAuditReportResponse | None:
        found: pb.GetAuditReportResponse = await doors.stub.GetAuditReport(pb.GetAuditReportRequest(audit_id=audit_id))
        return found if found.audit.state != pb.AUDIT_STATE_RUNNING else None

    found = await eventually(ended, within=30)
    assert isinstance(found, pb.GetAuditReportResponse)
    return found


async def test_an_operator_asks_and_reads_the_report(books: str) -> None:
    async with served(books, replicas=2) as doors:
        first = (await doors.stub.RunAudit(asked("r"))).audit
        assert (first.state, first.operator_id) == (pb.AUDIT_STATE_RUNNING, "olga")
        assert (await doors.stub.RunAudit(asked("r"))).audit == first
        found = await report(doors, first.audit_id)
        assert found.audit.state == pb.AUDIT_STATE_PASSED
        assert found.audit.rows > 0
        assert len(found.results) == len(checks.ALL) + 1
        assert all(each.holds and each.description for each in found.results)
        latest = await doors.stub.GetAuditReport(pb.GetAuditReportRequest())
        assert latest == found
        second = (await doors.stub.RunAudit(asked())).audit
        await report(doors, second.audit_id)
        page = await doors.stub.ListAudits(pb.ListAuditsRequest(page_size=1))
        assert [each.audit_id for each in page.audits] == [second.audit_id]
        rest = await doors.stub.ListAudits(pb.ListAuditsRequest(page_size=1, page_token=page.next_page_token))
        assert ([each.audit_id for each in rest.audits], rest.next_page_token) == ([first.audit_id], "")


async def test_one_audit_runs_at_a_time(books: str) -> None:
    async with opened(books) as treasury:
        asking = (commands.ask(treasury.postgres, treasury.clock, asked()) for _ in range(32))
        answers = await asyncio.gather(*asking)
        assert len({answer.audit.audit_id for answer in answers}) == 1
        await commands.schedule(treasury.postgres, treasury.clock.now())
        assert await treasury.value("SELECT count(*) FROM audits") == 1


async def test_a_wrong_reserve_pauses_payouts_until_it_is_right(books: str) -> None:
    async with served(books) as doors:
        await doors.treasury.execute(_move("treasury:payout_reserve", -1))
        found = await report(doors, (await doors.stub.RunAudit(asked())).audit.audit_id)
        assert found.audit.state == pb.AUDIT_STATE_VIOLATED
        assert [each.invariant for each in found.results if not each.holds] == ["RESERVE_BALANCES"]
        switch = "SELECT row(paused, operator_id, reserve_wrong) FROM payouts_switch"
        assert tuple(await doors.treasury.value(switch)) == (True, "job:auditor", True)
        assert "treasury:payout_reserve" in await doors.treasury.value("SELECT reason FROM payouts_switch")
        await doors.treasury.execute(_move("treasury:payout_reserve", 1))
        await report(doors, (await doors.stub.RunAudit(asked())).audit.audit_id)
        assert tuple(await doors.treasury.value(switch)) == (True, "job:auditor", False)


async def test_what_does_not_touch_the_reserve_pauses_nothing(books: str) -> None:
    async with served(books) as doors:
        await doors.treasury.execute(_move("commons", 1))
        found = await report(doors, (await doors.stub.RunAudit(asked())).audit.audit_id)
        assert found.audit.state == pb.AUDIT_STATE_VIOLATED
        assert not await doors.treasury.value("SELECT paused FROM payouts_switch")


async def test_violations_are_listed_in_pages(books: str) -> None:
    async with served(books) as doors:
        await doors.treasury.execute("UPDATE accounts SET balance_micro = balance_micro + 1 WHERE kind = 'credits'")
        audit_id = (await report(doors, (await doors.stub.RunAudit(asked())).audit.audit_id)).audit.audit_id
        listed: list[pb.Violation] = []
        token = ""
        while True:
            request = pb.ListViolationsRequest(
                audit_id=audit_id, invariant="ACCOUNT_BALANCES", page_size=1, page_token=token
            )
            page = await doors.stub.ListViolations(request)
            listed += page.violations
            token = page.next_page_token
            if not token:
                break
        assert len({each.row_key for each in listed}) == len(listed) == 3
        assert all(int(each.found) == int(each.expected) + 1 and each.table == "accounts" for each in listed)
        nothing = await doors.stub.ListViolations(pb.ListViolationsRequest(audit_id=audit_id, invariant="SPLIT"))
        assert not nothing.violations


async def test_an_audit_that_a_crash_broke_off_is_done_by_the_next(books: str) -> None:
    async with opened(books) as treasury:
        audit_id = (await commands.ask(treasury.postgres, treasury.clock, asked())).audit.audit_id
    async with served(books) as doors:
        assert (await report(doors, audit_id)).audit.state == pb.AUDIT_STATE_PASSED


async def test_an_audit_that_cannot_be_done_has_failed(books: str) -> None:
    async with served(books) as doors:
        await doors.treasury.execute("ALTER TABLE burns RENAME TO smoke")
        found = await report(doors, (await doors.stub.RunAudit(asked())).audit.audit_id)
        assert (found.audit.state, len(found.results)) == (pb.AUDIT_STATE_FAILED, 0)


async def test_bad_questions_are_refused(database: Database) -> None:
    async with served(await database("distribution")) as doors:
        stub = doors.stub
        unknown = str(uuid.uuid4())
        assert await refusal(stub.GetAuditReport(pb.GetAuditReportRequest())) == "AUDIT_UNKNOWN"
        assert await refusal(stub.GetAuditReport(pb.GetAuditReportRequest(audit_id=unknown))) == "AUDIT_UNKNOWN"
        assert await refusal(stub.GetAuditReport(pb.GetAuditReportRequest(audit_id="x"))) == "AUDIT_ID_INVALID"
        assert await refusal(stub.ListViolations(pb.ListViolationsRequest(audit_id=unknown))) == "AUDIT_UNKNOWN"
        assert await refusal(stub.ListAudits(pb.ListAuditsRequest(page_size=201))) == "AUDIT_PAGE_INVALID"
        assert await refusal(stub.ListAudits(pb.ListAuditsRequest(page_token="x"))) == "AUDIT_PAGE_INVALID"
        assert await refusal(stub.RunAudit(pb.RunAuditRequest(request_id="r", reason="r"))) == "AUDIT_ORDER_INVALID"
        for reason in ("", " ", "x" * 1001, "a\nb"):
            request = pb.RunAuditRequest(request_id="r", operator_id="o", reason=reason)
            assert await refusal(stub.RunAudit(request)) == "AUDIT_ORDER_INVALID"
