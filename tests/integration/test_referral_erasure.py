"""Forgetting an account at referral: when it is refused, what goes, what stays, and who comes back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import grpc
import pytest

from libs.refusals import Refusal
from protos.referral.v1 import admin_pb2
from protos.referral.v1.events_pb2 import AccountErased
from services.referral.commands import audit, erasure, retention
from services.referral.commands.erasure import Erasing
from services.referral.model.erasures import Erasure
from services.referral.rules.erasure import SERVICES
from services.referral.store import erasures
from tests.conftest import Database
from tests.support.erasing import Elsewhere, asking, erasing
from tests.support.referral import Referral, opened

SPREADING = admin_pb2.ERASURE_STATE_SPREADING
DONE = admin_pb2.ERASURE_STATE_DONE


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


async def refused(saga: Erasing, request: admin_pb2.RequestErasureRequest) -> str:
    try:
        await saga.request(request)
    except Refusal as refusal:
        return refusal.reason
    return ""


async def spread(referral: Referral, account_id: str, elsewhere: Elsewhere | None = None) -> UUID:
    """Asks for an erasure and takes it as far as it goes; answers its id."""
    saga = erasing(referral, elsewhere or Elsewhere())
    answer = await saga.request(asking(account_id, f"forget {await referral.ref(account_id)}"))
    await saga.take_on_all(referral.clock.now())
    return UUID(answer.erasure.erasure_id)


async def state(referral: Referral, erasure_id: UUID) -> tuple[str, str]:
    (row,) = await referral.rows("SELECT state, waits_for FROM erasures WHERE erasure_id = $1", erasure_id)
    return row["state"], row["waits_for"]


async def dump(referral: Referral) -> str:
    """Every row of every table of the schema, as text; bytes in both ways that text could hide in them."""
    tables = await referral.rows(
        "SELECT c.relname FROM pg_class c WHERE relnamespace = 'referral'::regnamespace AND relkind IN ('r', 'p')"
    )
    rows: list[str] = []
    for table in tables:
        for row in await referral.rows(f'SELECT * FROM "{table["relname"]}"'):  # noqa: S608 - our own tables
            rows += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row.values()]
    return "\n".join(rows)


async def test_with_an_open_payout_or_unpaid_earnings_it_is_refused_and_nothing_is_written(referral: Referral) -> None:
    await referral.code_of("alice")
    elsewhere = Elsewhere(open_payout=True)
    saga = erasing(referral, elsewhere)
    assert await refused(saga, asking("alice")) == "PAYOUT_OPEN"
    elsewhere.open_payout, elsewhere.held_micro = False, 1
    assert await refused(saga, asking("alice")) == "PAYOUT_OPEN"
    elsewhere.held_micro, elsewhere.unpaid_micro = 0, 1
    assert await refused(saga, asking("alice")) == "UNPAID_EARNINGS"
    assert await refused(saga, asking("nobody")) == "ACCOUNT_UNKNOWN"
    elsewhere.away = grpc.StatusCode.UNAVAILABLE
    assert await refused(saga, asking("alice", forfeit_consent=True)) == "MONEY_UNKNOWN"
    assert await referral.rows("SELECT FROM erasures") == []
    assert await referral.rows("SELECT FROM audit_log") == []
    elsewhere.away = None
    assert await refused(saga, asking("alice", forfeit_consent=True)) == ""


async def test_while_payout_does_not_answer_nobody_is_erased_but_without_payouts_there_are_none(
    referral: Referral,
) -> None:
    await referral.code_of("alice")
    elsewhere = Elsewhere()
    saga = erasing(referral, elsewhere)
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL):
        elsewhere.payout_away = code
        assert await refused(saga, asking("alice")) == "MONEY_UNKNOWN"
    elsewhere.payout_away = grpc.StatusCode.UNIMPLEMENTED
    assert await refused(saga, asking("alice")) == ""


async def test_money_is_forfeited_before_anything_is_forgotten_and_once_whatever_crashes(referral: Referral) -> None:
    await referral.code_of("alice")
    elsewhere = Elsewhere(unpaid_micro=5)
    saga = erasing(referral, elsewhere)
    answer = await saga.request(asking("alice", forfeit_consent=True))
    erasure_id = UUID(answer.erasure.erasure_id)
    elsewhere.away = grpc.StatusCode.UNAVAILABLE
    await saga.take_on_all(referral.clock.now())
    assert await state(referral, erasure_id) == ("requested", "MONEY_UNKNOWN")
    assert await referral.rows("SELECT FROM accounts WHERE account_id = 'alice'") != []
    elsewhere.away = None
    # As if the process had died between the answer and the record of it.
    await saga._forfeit((await due(referral))[0], f"erasure:{erasure_id}")
    elsewhere.unpaid_micro = 5
    referral.clock.advance(timedelta(minutes=2))
    await saga.take_on_all(referral.clock.now())
    await saga.take_on_all(referral.clock.now())
    assert elsewhere.forfeited == [f"erasure:{erasure_id}"]
    assert await state(referral, erasure_id) == ("spreading", "")


async def due(referral: Referral) -> list[Erasure]:
    async with referral.postgres.connection() as connection:
        return await erasures.list_due(connection, referral.clock.now() + timedelta(days=1), limit=10)


async def test_a_payout_that_was_asked_for_meanwhile_is_waited_for(referral: Referral) -> None:
    await referral.code_of("alice")
    elsewhere = Elsewhere()
    saga = erasing(referral, elsewhere)
    erasure_id = UUID((await saga.request(asking("alice"))).erasure.erasure_id)
    elsewhere.open_payout = True
    await saga.take_on_all(referral.clock.now())
    assert await state(referral, erasure_id) == ("requested", "PAYOUT_OPEN")
    elsewhere.open_payout = False
    referral.clock.advance(timedelta(minutes=2))
    await saga.take_on_all(referral.clock.now())
    assert await state(referral, erasure_id) == ("spreading", "")


async def test_nothing_of_an_erased_creator_and_its_code_is_left(referral: Referral) -> None:
    code = await referral.code_of("alice-of-wonderland", "alicewonder")
    await referral.register("bob", code)
    await referral.register("bob", code)
    await referral.try_register("carol", code, age=timedelta(days=3))
    await spread(referral, "alice-of-wonderland")
    text = await dump(referral)
    assert "alice" not in text
    assert code not in text
    assert "bob" in text
    assert await referral.try_register("dave", code) == "CODE_UNKNOWN"
    # Once somebody's, never anybody else's.
    with pytest.raises(Refusal, match="once was"):
        await referral.code_of("erin", "alicewonder")
    assert code not in await dump(referral)


async def test_nothing_of_an_erased_referee_is_left_and_its_referrer_keeps_the_others(referral: Referral) -> None:
    code = await referral.code_of("alice")
    await referral.register("bob-the-builder", code)
    await referral.register("carol", code)
    gone = await referral.ref("bob-the-builder")
    await spread(referral, "bob-the-builder")
    assert "bob-the-builder" not in await dump(referral)
    assert await referral.rows("SELECT FROM referral_registrations WHERE referee_ref = $1", UUID(gone)) == []
    assert await referral.rows("SELECT FROM referral_attribution_log WHERE referee_ref = $1", UUID(gone)) == []
    assert len(await referral.rows("SELECT FROM referral_registrations WHERE kind = 'referred'")) == 1


async def test_an_account_that_asks_for_itself_does_not_stay_in_the_audit_log(referral: Referral) -> None:
    await referral.code_of("alice-asks")
    saga = erasing(referral, Elsewhere())
    await saga.request(asking("alice-asks", operator_id="alice-asks", reason="I want to go."))
    await saga.take_on_all(referral.clock.now())
    assert "alice-asks" not in await dump(referral)
    acts = await referral.rows("SELECT act, operator_id FROM audit_log ORDER BY sequence")
    assert [(row["act"], row["operator_id"]) for row in acts] == [
        ("ERASURE_REQUESTED", "account"),
        ("ERASURE_SPREAD", "job:erasure"),
    ]
    assert await audit.broken_at(referral.postgres) is None


async def test_the_same_request_gets_the_same_answer_also_when_the_account_is_gone(referral: Referral) -> None:
    await referral.code_of("alice")
    saga = erasing(referral, Elsewhere())
    first = await saga.request(asking("alice"))
    assert await saga.request(asking("alice")) == first
    await saga.take_on_all(referral.clock.now())
    assert await saga.request(asking("alice")) == first
    assert await refused(saga, asking("bob")) == "REQUEST_ID_REUSED"
    assert await refused(saga, asking("alice", "again")) == "ACCOUNT_UNKNOWN"


async def test_asked_for_twice_at_once_it_is_one_erasure(referral: Referral) -> None:
    await referral.code_of("alice")
    saga = erasing(referral, Elsewhere())
    answers = await asyncio.gather(*(saga.request(asking("alice", f"r{number}")) for number in range(8)))
    assert len({answer.erasure.erasure_id for answer in answers}) == 1
    await asyncio.gather(*(saga.take_on_all(referral.clock.now()) for _ in range(4)))
    events = [row for row in await referral.rows("SELECT topic, payload FROM outbox") if "erasures" in row["topic"]]
    assert len(events) == 1
    said = AccountErased.FromString(events[0]["payload"])
    assert said.erasure_id == answers[0].erasure.erasure_id


async def test_it_is_done_when_every_service_has_reported_and_each_counts_once(referral: Referral) -> None:
    await referral.code_of("alice")
    erasure_id = await spread(referral, "alice")
    *others, last = sorted(SERVICES)
    for service in others:
        for rows in (2, 0):
            made = await erasure.report(referral.postgres, referral.clock, erasure_id, service, rows)
            assert erasure.pack(made).state == SPREADING
    made = await erasure.report(referral.postgres, referral.clock, erasure_id, last, 1)
    packed = erasure.pack(made)
    assert packed.state == DONE
    assert packed.HasField("done_at")
    counted = {each.service: each.rows for each in packed.services if each.service != "referral"}
    assert counted == dict.fromkeys(others, 2) | {last: 1}


async def test_a_report_of_what_was_never_announced_is_refused(referral: Referral) -> None:
    await referral.code_of("alice")
    answer = await erasing(referral, Elsewhere()).request(asking("alice"))
    for unknown in (UUID(answer.erasure.erasure_id), UUID(int=1)):
        with pytest.raises(Refusal, match="No such erasure"):
            await erasure.report(referral.postgres, referral.clock, unknown, "payout", 0)


async def test_an_erased_id_that_comes_back_is_somebody_new_and_organic(referral: Referral) -> None:
    code = await referral.code_of("alice")
    await referral.register("bob", code)
    before = await referral.ref("bob")
    await spread(referral, "bob")
    (found,) = await referral.resolve("bob")
    assert str(found.account_ref) != before
    assert found.referrer_ref is None
    assert await referral.try_register("bob", code) == "LOCKED_ORGANIC"
    # And may be erased again, as whoever it is now.
    await spread(referral, "bob")
    assert await referral.rows("SELECT FROM accounts WHERE account_id = 'bob'") == []


async def test_registrations_and_first_charges_under_way_leave_nothing_of_the_erased(referral: Referral) -> None:
    code = await referral.code_of("alice")
    names = [f"account-{number}" for number in range(8)]
    for name in names:
        await referral.ref(name)
    saga = erasing(referral, Elsewhere())
    for name in names:
        await saga.request(asking(name, name[-1]))

    async def busy(name: str) -> None:
        for _ in range(5):
            await referral.try_register(name, code)
            try:
                await referral.resolve(name)
            except Refusal as refusal:
                assert refusal.reason == "ATTRIBUTION_CONTENDED"  # noqa: PT017 - it need not be raised

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(busy(name))
        tasks.create_task(saga.take_on_all(referral.clock.now()))
    left = await referral.rows(
        """
        SELECT FROM erased_accounts WHERE account_ref IN (SELECT account_ref FROM accounts)
            OR account_ref IN (SELECT referee_ref FROM referral_registrations)
        """
    )
    assert left == []
    assert len(await referral.rows("SELECT FROM erased_accounts")) == len(names)


async def test_what_accrues_to_an_erased_creator_goes_back_once_a_day(referral: Referral) -> None:
    code = await referral.code_of("alice")
    await referral.register("bob", code)
    await referral.code_of("carol")
    elsewhere = Elsewhere()
    saga = erasing(referral, elsewhere)
    erasure_id = await spread(referral, "alice", elsewhere)
    await spread(referral, "carol", elsewhere)
    for _ in range(2):
        await saga.forfeit_ownerless(referral.clock.now(), months=12)
    assert elsewhere.forfeited == [f"erasure:{erasure_id}:2026-03-01"]


async def test_bindings_go_24_months_after_their_window_and_the_account_stays_decided(referral: Referral) -> None:
    code = await referral.code_of("alice")
    await referral.register("bob", code)
    (bound,) = await referral.resolve("bob")
    referral.clock.advance(timedelta(days=3 * 365))
    await referral.register("carol", code)
    await retention.purge(referral.postgres, referral.clock.now(), months=36)
    assert len(await referral.rows("SELECT FROM referral_registrations WHERE kind = 'referred'")) == 2
    assert len(await referral.rows("SELECT FROM referral_attribution_log")) == 2
    referral.clock.advance(timedelta(days=1))
    await retention.purge(referral.postgres, referral.clock.now(), months=36)
    (kept,) = await referral.rows("SELECT referee_ref FROM referral_registrations WHERE kind = 'referred'")
    assert str(kept["referee_ref"]) == await referral.ref("carol")
    assert len(await referral.rows("SELECT FROM referral_attribution_log")) == 1
    (left,) = await referral.resolve("bob")
    assert (left.account_ref, left.registered_at, left.referrer_ref) == (bound.account_ref, bound.registered_at, None)


async def test_without_saying_so_nothing_is_deleted_or_overwritten(referral: Referral) -> None:
    await referral.register("bob", await referral.code_of("alice"))
    for statement in (
        "DELETE FROM referral_registrations",
        "DELETE FROM referral_attribution_log",
        "UPDATE referral_attribution_log SET code_typed = ''",
        "UPDATE codes SET code = 'overwritten'",
        "SET LOCAL referral.erasing = 'on'; UPDATE referral_attribution_log SET outcome = 'refused', reason = 'X'",
        "SET LOCAL referral.erasing = 'on'; UPDATE codes SET code = 'overwritten'",
        "DELETE FROM erasures",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await referral.execute(statement)
