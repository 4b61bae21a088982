"""Finalize and its siblings, against a real database and the real referral over loopback."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import grpc
import pytest

from libs import rpc
from libs.refusals import Code
from protos.distribution.v1 import distribution_pb2, distribution_pb2_grpc, ledger_pb2
from services.distribution.model import Answer, Part
from tests.conftest import Database
from tests.support.distribution import NOW, Ledger, charge, later, ledger_running, referral_running, request
from tests.support.eventually import eventually

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def dsn(database: Database) -> str:
    return await database("distribution")


@pytest.fixture
async def referral_dsn(database: Database) -> str:
    return await database("referral")


async def test_a_charge_is_split_once_and_replayed_for_ever(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        creator = await referral.refer("payer", later(days=-3))
        first = await ledger.finalize(charge("c"))
        assert not first.replayed
        again = await ledger.finalize(charge("c"))
        assert again == Answer(first.posted, replayed=True)
        assert await ledger.balances() == {
            "platform:receipts": -100_000,
            f"creator:{creator}:pending": 10_000,
            "commons": 4_500,
            "community:artists": 63_000,
            "foundation": 22_500,
            "treasury:operating": -10_000,
            "treasury:payout_reserve": 10_000,
        }
        await ledger.check_books()


async def test_the_same_id_with_another_amount_is_refused(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await ledger.finalize(charge("c"))
        for other in (charge("c", revenue_micro=100_001), charge("c", payer="another"), charge("c", model_tier="x")):
            assert await ledger.try_finalize(other) == "CHARGE_MISMATCH"
        assert await ledger.count() == 1
        await ledger.check_books()


async def test_a_refused_charge_leaves_nothing_and_may_be_corrected(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        assert await ledger.try_finalize(charge("c", revenue_micro=0)) == "REVENUE_OUT_OF_RANGE"
        assert await ledger.try_finalize(charge("c", finalized_at=later(minutes=6))) == "FINALIZED_IN_FUTURE"
        assert (await ledger.count(), referral.asked) == (0, [])
        assert await ledger.try_finalize(charge("c")) == "ORGANIC"


async def test_200_concurrent_calls_for_one_charge_make_one_distribution(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await referral.refer("payer", later(days=-3))
        answers = await asyncio.gather(*(ledger.stub.Finalize(request(charge("c"))) for _ in range(200)))
        assert [answer.replayed for answer in answers].count(False) == 1
        for answer in answers:
            answer.replayed = False
        assert all(answer == answers[0] for answer in answers)
        assert await ledger.count() == 1
        await ledger.check_books()


async def test_concurrent_calls_for_one_id_with_two_contents_settle_for_one(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        ways = [charge("c"), charge("c", revenue_micro=7)] * 40
        words = await asyncio.gather(*(ledger.try_finalize(each) for each in ways))
        assert sorted(words) == ["CHARGE_MISMATCH"] * 40 + ["ORGANIC"] + ["REPLAYED"] * 39
        assert await ledger.count() == 1
        await ledger.check_books()


@pytest.mark.parametrize(
    ("registered_at", "finalized_at", "outcome"),
    [
        (datetime(2025, 1, 15, 8, tzinfo=UTC), datetime(2026, 1, 15, 8, tzinfo=UTC), "WINDOW_ENDED"),
        (datetime(2025, 1, 15, 8, tzinfo=UTC), datetime(2026, 1, 15, 8, tzinfo=UTC) - MICROSECOND, "ATTRIBUTED"),
        (datetime(2025, 1, 15, 8, tzinfo=UTC), datetime(2025, 1, 15, 8, tzinfo=UTC), "ATTRIBUTED"),
        (datetime(2025, 1, 15, 8, tzinfo=UTC), datetime(2025, 1, 15, 8, tzinfo=UTC) - MICROSECOND, "BEFORE_WINDOW"),
        (datetime(2024, 2, 29, 8, tzinfo=UTC), datetime(2025, 2, 28, 8, tzinfo=UTC), "WINDOW_ENDED"),
        (datetime(2024, 2, 29, 8, tzinfo=UTC), datetime(2025, 2, 28, 8, tzinfo=UTC) - MICROSECOND, "ATTRIBUTED"),
    ],
)
async def test_the_window_ends_to_the_microsecond(
    dsn: str, referral_dsn: str, registered_at: datetime, finalized_at: datetime, outcome: str
) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await referral.refer("payer", registered_at)
        assert await ledger.try_finalize(charge(finalized_at=finalized_at)) == outcome


async def test_nanoseconds_are_rounded_down(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await referral.refer("payer", datetime(2025, 1, 15, 8, tzinfo=UTC))
        asked = request(charge("c", finalized_at=datetime(2026, 1, 15, 8, tzinfo=UTC) - MICROSECOND))
        asked.finalized_at.nanos += 999
        answer = await ledger.stub.Finalize(asked)
        assert answer.referrer_outcome == distribution_pb2.REFERRER_OUTCOME_ATTRIBUTED
        asked.finalized_at.nanos -= 999
        assert (await ledger.stub.Finalize(asked)).replayed


async def test_a_promotional_charge_is_recorded_with_nothing_to_share(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await referral.refer("payer", later(days=-3))
        assert await ledger.try_finalize(charge("c", promotional_micro=100_000)) == "PROMOTIONAL"
        assert (await ledger.balances(), await ledger.count()) == ({}, 1)
        assert await ledger.try_finalize(charge("c", promotional_micro=100_000)) == "REPLAYED"
        await ledger.check_books()


async def test_the_rule_in_force_when_it_was_finalized_decides_on_every_replica(dsn: str, referral_dsn: str) -> None:
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral) as one,
        ledger_running(dsn, referral) as two,
    ):
        await referral.refer("payer", later(days=-3))
        for ledger in (one, two):
            assert await ledger.try_finalize(charge()) == "ATTRIBUTED"
        first = await one.finalize(charge("before"))
        await one.execute("INSERT INTO rules VALUES (2, 0, 500, 7000, 2500, 3000, $1)", NOW)
        for ledger in (one, two):
            assert await ledger.try_finalize(charge()) == "RATE_ZERO"
            assert await ledger.try_finalize(charge(finalized_at=NOW - MICROSECOND)) == "ATTRIBUTED"
        # A replay under new rules is the first answer.
        assert await two.finalize(charge("before")) == Answer(first.posted, replayed=True)
        await one.check_books()


async def test_a_change_of_rules_waits_for_no_charge_and_no_charge_gets_past_it(dsn: str, referral_dsn: str) -> None:
    """While charges pour in through two replicas a rule is activated: whoever posts after its commit is under it."""
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral) as one,
        ledger_running(dsn, referral) as two,
    ):
        await referral.refer("payer", later(days=-3))
        await asyncio.gather(one.finalize(charge()), two.finalize(charge()))

        changed = asyncio.Event()

        async def pour(ledger: Ledger) -> None:
            while not changed.is_set():
                await asyncio.gather(*(ledger.finalize(charge()) for _ in range(8)))
            await ledger.finalize(charge())

        async def one_hundred() -> bool:
            return await one.count() >= 100

        async def change() -> None:
            await eventually(one_hundred)
            await one.execute("INSERT INTO rules VALUES (2, 500, 500, 7000, 2500, 3000, $1)", NOW)
            versions[:] = [row["v"] for row in await one.rows("SELECT rule_version AS v FROM distributions")]
            changed.set()

        versions: list[int] = []
        await asyncio.gather(pour(one), pour(two), change())
        old = await one.value("SELECT count(*) FROM distributions WHERE rule_version = 1")
        assert old == versions.count(1)
        assert await one.value("SELECT count(*) FROM distributions WHERE rule_version = 2") >= 2
        await one.check_books()


async def test_a_batch_answers_each_charge_for_itself_in_order(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await ledger.finalize(charge("known"))
        charges = [
            request(charge("a")),
            request(charge("b", revenue_micro=0)),
            request(charge("known")),
            request(charge("known", revenue_micro=1)),
            request(charge("a")),
            distribution_pb2.FinalizeRequest(inference_charge_id="timeless"),
            request(charge("c", community_id="not one")),
        ]
        charges[5].finalized_at.Clear()
        charges[5].ClearField("finalized_at")
        answer = await ledger.stub.FinalizeBatch(distribution_pb2.FinalizeBatchRequest(charges=charges))
        told = [
            (each.inference_charge_id, each.refusal.reason or ("replayed" if each.response.replayed else "new"))
            for each in answer.results
        ]
        assert told == [
            ("a", "new"),
            ("b", "REVENUE_OUT_OF_RANGE"),
            ("known", "replayed"),
            ("known", "CHARGE_MISMATCH"),
            ("a", "replayed"),
            ("timeless", "FINALIZED_AT_MISSING"),
            ("c", "COMMUNITY_INVALID"),
        ]
        told_of_b = answer.results[1].refusal
        assert (told_of_b.code, told_of_b.data["field"]) == (Code.INVALID_ARGUMENT, "revenue_micro")
        assert "Revenue" in told_of_b.message
        assert answer.results[3].refusal.code == Code.ALREADY_EXISTS
        await ledger.check_books()


@pytest.mark.parametrize("size", [0, 501])
async def test_an_empty_or_too_large_batch_is_refused_as_a_whole(dsn: str, referral_dsn: str, size: int) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        batch = distribution_pb2.FinalizeBatchRequest(charges=[request(charge()) for _ in range(size)])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ledger.stub.FinalizeBatch(batch)
        assert rpc.refusal_of(caught.value).reason == "BATCH_SIZE_INVALID"
        assert await ledger.count() == 0


async def test_a_batch_of_500_is_one_commit(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        batch = [charge(payer=f"payer-{number % 50}") for number in range(500)]
        outcomes = await ledger.finalize_batch(batch)
        assert all(isinstance(outcome, Answer) and not outcome.replayed for outcome in outcomes)
        assert await ledger.value("SELECT count(DISTINCT xmin::text) FROM distributions") == 1
        await ledger.check_books()


async def test_a_stream_answers_every_charge(dsn: str, referral_dsn: str) -> None:
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral, STREAM_IN_FLIGHT_MAX="16") as ledger,
    ):
        await ledger.finalize(charge("known"))
        charges = [charge(f"c{number}", payer=f"payer-{number % 7}") for number in range(200)]
        charges += [charge("known"), charge("bad", revenue_micro=0), charge("known", revenue_micro=1), charges[0]]

        async def asked() -> AsyncIterator[distribution_pb2.FinalizeStreamRequest]:
            for each in charges:
                yield distribution_pb2.FinalizeStreamRequest(charge=request(each))
            yield distribution_pb2.FinalizeStreamRequest()

        results = [message.result async for message in ledger.stub.FinalizeStream(asked())]
        told = sorted(
            (each.inference_charge_id, each.refusal.reason or ("replayed" if each.response.replayed else "new"))
            for each in results
        )
        assert told == sorted(
            [(f"c{number}", "new") for number in range(200)]
            + [("known", "replayed"), ("bad", "REVENUE_OUT_OF_RANGE"), ("known", "CHARGE_MISMATCH"), ("c0", "replayed")]
            + [("", "FINALIZED_AT_MISSING")]
        )
        await ledger.check_books()


async def test_charges_that_come_together_are_answered_together(dsn: str, referral_dsn: str) -> None:
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral, STREAM_IN_FLIGHT_MAX="64") as ledger,
    ):
        await ledger.finalize(charge("known0"))
        charges = [charge(f"c{number}", payer=f"payer-{number % 9}") for number in range(300)]
        bad = [charge("bad", revenue_micro=0), charge("known0", revenue_micro=1), charges[0]]
        both = distribution_pb2.FinalizeStreamRequest(
            charge=request(charge("alone")), charges=[request(charge("beside"))]
        )
        results: list[distribution_pb2.FinalizeResult] = []
        alone: list[str] = []
        messages = 0

        async def asked() -> AsyncIterator[distribution_pb2.FinalizeStreamRequest]:
            for first in range(0, 300, 100):
                part = charges[first : first + 100]
                yield distribution_pb2.FinalizeStreamRequest(charges=[request(each) for each in part])
            yield distribution_pb2.FinalizeStreamRequest(charges=[request(each) for each in bad])
            yield both

        async for message in ledger.stub.FinalizeStream(asked()):
            messages += 1
            results += message.results
            alone += [message.result.inference_charge_id] if message.HasField("result") else []
        told = sorted(
            (each.inference_charge_id, each.refusal.reason or ("replayed" if each.response.replayed else "new"))
            for each in results
        )
        assert told == sorted(
            [(f"c{number}", "new") for number in range(300)]
            + [("bad", "REVENUE_OUT_OF_RANGE"), ("known0", "CHARGE_MISMATCH"), ("c0", "replayed"), ("beside", "new")]
        )
        assert alone == ["alone"]
        assert messages < 100
        await ledger.check_books()


async def test_a_message_with_too_many_charges_is_refused_charge_by_charge(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        many = [request(charge(f"c{number}")) for number in range(501)]
        stream = ledger.stub.FinalizeStream(
            iter([distribution_pb2.FinalizeStreamRequest(charges=each) for each in (many, many[:2])])
        )
        results = [result async for message in stream for result in message.results]
        refused = [each for each in results if each.refusal.reason == "BATCH_SIZE_INVALID"]
        assert (len(results), len(refused)) == (503, 501)
        assert await ledger.count() == 2


async def test_a_stream_that_is_hung_up_leaves_whole_charges(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        call = ledger.stub.FinalizeStream()
        for _ in range(20):
            await call.write(distribution_pb2.FinalizeStreamRequest(charge=request(charge())))
        await call.read()
        call.cancel()
        assert await ledger.try_finalize(charge()) == "ORGANIC"
        await ledger.check_books()


async def test_a_distribution_can_be_looked_up_with_all_that_was_decided(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        creator = await referral.refer("payer", later(days=-3))
        one = charge(
            "c",
            model_breakdown=(Part("a", 60_000), Part("ü", 40_000)),
            funding=(Part("p1", 99_000),),
            promotional_micro=1_000,
        )
        answer = await ledger.stub.Finalize(request(one))
        asked = distribution_pb2.GetDistributionRequest(inference_charge_id="c")
        found = (await ledger.stub.GetDistribution(asked)).distribution
        assert found.answer == answer
        assert found.referrer_ref == creator
        assert found.payer_ref == await referral.commands.ref("payer")
        assert [(part.model, part.amount_micro) for part in found.model_breakdown] == [("a", 60_000), ("ü", 40_000)]
        assert [(part.payment_id, part.amount_micro) for part in found.funding] == [("p1", 99_000)]
        assert found.finalized_at.ToDatetime(UTC) == found.recorded_at.ToDatetime(UTC) == NOW
        assert (found.revenue_micro, found.promotional_micro, found.provider_cost_micro) == (100_000, 1_000, 50_000)
        assert (found.model, found.model_tier, found.community_id) == ("gpt-4o", "standard", "artists")


@pytest.mark.parametrize(("charge_id", "reason"), [("none", "DISTRIBUTION_UNKNOWN"), ("", "CHARGE_ID_INVALID")])
async def test_a_charge_that_was_never_finalized_is_unknown(
    dsn: str, referral_dsn: str, charge_id: str, reason: str
) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        asked = distribution_pb2.GetDistributionRequest(inference_charge_id=charge_id)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ledger.stub.GetDistribution(asked)
        assert rpc.refusal_of(caught.value).reason == reason


async def test_nothing_is_finalized_while_billing_is_disabled(dsn: str, referral_dsn: str) -> None:
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral, BILLING_ENABLED="0") as ledger,
    ):
        stream = ledger.stub.FinalizeStream(iter([distribution_pb2.FinalizeStreamRequest(charge=request(charge()))]))
        batch = distribution_pb2.FinalizeBatchRequest(charges=[request(charge())])
        for call in (ledger.stub.Finalize(request(charge())), ledger.stub.FinalizeBatch(batch), stream.read()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            refusal = rpc.refusal_of(caught.value)
            assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "BILLING_DISABLED")
        assert await ledger.count() == 0


async def test_only_billing_may_finalize(dsn: str, referral_dsn: str) -> None:
    async with (
        referral_running(referral_dsn) as referral,
        ledger_running(dsn, referral) as ledger,
        rpc.channel(f"127.0.0.1:{ledger.server.port}", caller="leaderboard") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await distribution_pb2_grpc.DistributionServiceStub(channel).Finalize(request(charge()))
        assert rpc.refusal_of(caught.value).code is Code.PERMISSION_DENIED


async def test_balances_are_told_by_name_by_creator_and_in_sum(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        creator = await referral.refer("payer", later(days=-3))
        await ledger.finalize(charge())
        ask = ledger.balances_stub
        by_name = await ask.GetBalances(
            ledger_pb2.GetBalancesRequest(account_names=["foundation", "community:none"], account_id="creator")
        )
        assert [(each.account_name, each.balance_micro) for each in by_name.balances] == [
            ("foundation", 22_500),
            ("community:none", 0),
            (f"creator:{creator}:pending", 10_000),
            (f"creator:{creator}:settled", 0),
            (f"creator:{creator}:held", 0),
        ]
        stranger = await ask.GetBalances(ledger_pb2.GetBalancesRequest(account_id="stranger"))
        assert [each.balance_micro for each in stranger.balances] == [0, 0, 0]
        trial = await ask.GetTrialBalance(ledger_pb2.GetTrialBalanceRequest())
        assert trial.total_micro == 0
        assert {each.family: each.balance_micro for each in trial.families}["creator:*:pending"] == 10_000
        names: list[str] = []
        token = ""
        while True:
            page = await ask.ListPlatformBalances(ledger_pb2.ListPlatformBalancesRequest(page_size=2, page_token=token))
            names += [each.account_name for each in page.balances]
            if not (token := page.next_page_token):
                break
        assert names == sorted(names)
        assert {"commons", "community:artists", "treasury:payout_reserve"} <= set(names)
        assert not any(name.startswith("creator:") for name in names)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE distributions SET revenue_micro = revenue_micro",
        "DELETE FROM distributions",
        "TRUNCATE distributions",
        "TRUNCATE distributions_0",
        "DELETE FROM distributions_0",
        "UPDATE distributions_3 SET referrer_micro = 0",
    ],
)
async def test_the_journal_cannot_be_rewritten(dsn: str, referral_dsn: str, statement: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await ledger.finalize_batch([charge() for _ in range(100)])
        with pytest.raises(asyncpg.RestrictViolationError, match="immutable"):
            await ledger.execute(statement)
        assert await ledger.count() == 100


async def test_the_schema_itself_refuses_a_split_that_does_not_add_up(dsn: str, referral_dsn: str) -> None:
    async with referral_running(referral_dsn) as referral, ledger_running(dsn, referral) as ledger:
        await ledger.finalize(charge("c"))
        copied = (await ledger.rows("SELECT * FROM distributions"))[0]
        wrong = {
            "distributions_conserved": {"foundation_micro": copied["foundation_micro"] + 1},
            "distributions_shares": {"commons_micro": -1, "community_micro": copied["community_micro"] + 5_001},
            "distributions_amounts": {"promotional_micro": 100_001},
            "distributions_outcome": {"referrer_outcome": 9},
            "distributions_referrer": {"referrer_outcome": 1},
        }
        for constraint, changed in wrong.items():
            row = copied | {"inference_charge_id": constraint} | changed
            places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await ledger.execute(
                    f"INSERT INTO distributions ({', '.join(row)}) VALUES ({places})",  # noqa: S608 - own columns
                    *row.values(),
                )
            assert getattr(caught.value, "constraint_name", None) == constraint
