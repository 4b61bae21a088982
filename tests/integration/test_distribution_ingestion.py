"""Charges over the real broker: the answers are those of a call, refusals are told, nothing is lost or doubled."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from libs.kafka import Publisher
from libs.outbox import Record, partition_of, topic_of
from libs.refusals import Refusal
from protos.distribution.v1 import events_pb2
from protos.distribution.v1.distribution_pb2 import FinalizeRequest
from protos.distribution.v1.ingestion_pb2 import BillingCharge
from services.distribution.commands.ingestion import Ingestion
from services.distribution.consumers import ChargesConsumer
from services.distribution.model import Answer, Charge, Part
from tests.conftest import Database
from tests.support.books import assert_books
from tests.support.brokers import Broker
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running, request
from tests.support.eventually import eventually

TOPIC = topic_of(BillingCharge)


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    dsn, referral_dsn = await database("distribution"), await database("referral")
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as running:
        await referral.refer("payer", later(days=-3))
        yield running
        async with running.postgres.connection() as connection:
            await assert_books(connection)


def record(asked: FinalizeRequest | bytes) -> Record:
    key, value = (
        ("", asked)
        if isinstance(asked, bytes)
        else (asked.payer_account_id, BillingCharge(charge=asked).SerializeToString())
    )
    return Record(TOPIC, partition_of(key, TOPIC.partitions), key.encode(), value)


async def publish(broker: Broker, asked: Sequence[FinalizeRequest | bytes]) -> None:
    publisher = Publisher(broker.bootstrap, idempotent=False)
    try:
        await publisher.publish([record(each) for each in asked])
    finally:
        await publisher.close()


@asynccontextmanager
async def listening(ledger: Ledger, broker: Broker) -> AsyncIterator[None]:
    ingestion = Ingestion(ledger.postgres, ledger.clock, ledger.finalizer)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ChargesConsumer(ingestion, broker.bootstrap).run())
        yield
        task.cancel()


async def refusals(ledger: Ledger) -> list[events_pb2.ChargeRefused]:
    rows = await ledger.rows("SELECT payload FROM outbox WHERE topic = 'distribution.refused.v1' ORDER BY id")
    return [events_pb2.ChargeRefused.FromString(row["payload"]) for row in rows]


async def wait_for(ledger: Ledger, charges: int, refused: int = 0) -> None:
    async def there() -> bool:
        return await ledger.count() >= charges and len(await refusals(ledger)) >= refused

    await eventually(there, within=60)


def mixed() -> list[Charge]:
    """What may come: good, thin, promotional, organic, funded; and what is refused."""
    good = [charge(f"c-{n}", "payer" if n % 3 else f"other-{n % 5}", 1 + 7919 * n) for n in range(60)]
    good.append(charge("thin", provider_cost_micro=99_999))
    good.append(charge("given", promotional_micro=100_000))
    good.append(charge("funded", funding=(Part("p", 100_000),)))
    bad = [
        charge("none", revenue_micro=0),
        charge("promotional", promotional_micro=100_001),
        charge("future", finalized_at=NOW + timedelta(minutes=6)),
        charge("nobody", payer=""),
        charge("x" * 129),
        charge("funding", funding=(Part("p", 1),)),
        charge("\x00"),
    ]
    return good + bad


_SHARES = """
    SELECT inference_charge_id, revenue_micro, promotional_micro, referrer_micro, commons_micro, community_micro,
        foundation_micro, referrer_outcome, rule_version, fingerprint FROM distributions ORDER BY 1
    """


async def test_the_result_is_that_of_finalize_batch(database: Database, fresh_broker: Broker) -> None:
    referral_dsn = await database("referral")
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(await database("distribution"), referral) as called,
        ledger_running(await database("distribution"), referral) as fed,
    ):
        await referral.refer("payer", later(days=-3))
        outcomes = await called.finalize_batch(mixed())
        refused = {
            each.inference_charge_id: (outcome.code, outcome.reason, outcome.data)
            for each, outcome in zip(mixed(), outcomes, strict=True)
            if isinstance(outcome, Refusal)
        }
        assert len(refused) == 7
        async with listening(fed, fresh_broker):
            await publish(fresh_broker, [request(each) for each in mixed()])
            await wait_for(fed, 63, 7)
        assert await fed.rows(_SHARES) == await called.rows(_SHARES)
        assert await fed.balances() == await called.balances()
        told = {
            each.inference_charge_id: (each.refusal.code, each.refusal.reason, dict(each.refusal.data))
            for each in await refusals(fed)
        }
        assert told == refused


async def test_twice_is_once(ledger: Ledger, fresh_broker: Broker) -> None:
    asked = [request(charge(f"c-{n}")) for n in range(20)]
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, asked + asked)
        await publish(fresh_broker, [*asked, request(charge("last"))])
        await wait_for(ledger, 21)
    assert await ledger.count() == 21
    assert await refusals(ledger) == []
    assert all(isinstance(each, Answer) and each.replayed for each in await ledger.finalize_batch([charge("last")]))


async def test_another_charge_under_the_same_id_is_refused(ledger: Ledger, fresh_broker: Broker) -> None:
    await ledger.finalize(charge("c"))
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, [request(charge("c", revenue_micro=1))])
        await wait_for(ledger, 1, 1)
    (told,) = await refusals(ledger)
    assert (told.inference_charge_id, told.refusal.reason, told.offset) == ("c", "CHARGE_MISMATCH", 0)


async def test_a_refused_charge_may_be_corrected(ledger: Ledger, fresh_broker: Broker) -> None:
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, [request(charge("c", promotional_micro=-1))])
        await wait_for(ledger, 0, 1)
        await publish(fresh_broker, [request(charge("c"))])
        await wait_for(ledger, 1, 1)


async def test_what_is_no_charge_is_refused_too(ledger: Ledger, fresh_broker: Broker) -> None:
    missing = request(charge("timeless"))
    missing.ClearField("finalized_at")
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, [b"\xff\xff\xff", b"", missing, request(charge("good"))])
        await wait_for(ledger, 1, 3)
    reasons = Counter(each.refusal.reason for each in await refusals(ledger))
    assert reasons == {"MALFORMED_REQUEST": 1, "FINALIZED_AT_MISSING": 2}


async def test_a_restart_in_the_middle_loses_and_doubles_nothing(ledger: Ledger, fresh_broker: Broker) -> None:
    asked = [request(charge(f"c-{n}", f"payer-{n % 7}", 0 if n % 100 == 0 else 1000 + n)) for n in range(1500)]
    await publish(fresh_broker, asked)
    async with listening(ledger, fresh_broker):
        await wait_for(ledger, 1)
    async with listening(ledger, fresh_broker):
        await wait_for(ledger, 1485, 15)
    assert await ledger.count() == 1485
    assert sorted(each.inference_charge_id for each in await refusals(ledger)) == sorted(
        f"c-{n}" for n in range(0, 1500, 100)
    )


async def test_the_same_records_again_are_refused_once(ledger: Ledger, fresh_broker: Broker) -> None:
    await publish(fresh_broker, [request(charge("c", revenue_micro=0))])
    async with listening(ledger, fresh_broker):
        await wait_for(ledger, 0, 1)
    # Ended before its offset was told to the broker: it all comes again.
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, [request(charge("d"))])
        await wait_for(ledger, 1, 1)
    assert len(await refusals(ledger)) == 1


async def test_a_charge_waits_for_referral(ledger: Ledger, fresh_broker: Broker) -> None:
    await ledger.referral.server.drain(hasty=True)
    async with listening(ledger, fresh_broker):
        await publish(fresh_broker, [request(charge("c", "stranger"))])
        await asyncio.sleep(2.5)
        assert (await ledger.count(), await refusals(ledger)) == (0, [])
        await ledger.execute(
            "INSERT INTO attributions VALUES ('stranger', gen_random_uuid(), NULL, $1)", later(days=-1)
        )
        await wait_for(ledger, 1)


async def test_a_broker_that_comes_later_or_back_empty_is_no_crash(ledger: Ledger, fresh_broker: Broker) -> None:
    fresh_broker.kill()
    async with listening(ledger, fresh_broker):
        await asyncio.sleep(1)
        fresh_broker.start()
        await publish(fresh_broker, [request(charge("first"))])
        await wait_for(ledger, 1)
        fresh_broker.restart()
        await publish(fresh_broker, [request(charge("second"))])
        await wait_for(ledger, 2)
