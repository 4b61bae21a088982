"""Reward runs: all or nothing, once per period, to the micro, and provable."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2
from protos.score.v1 import admin_pb2, events_pb2, score_pb2
from services.score.model.runs import Inclusion, RunState, Terms
from services.score.rules import proof
from services.score.rules import rewards as rules
from services.score.store import runs
from tests.conftest import Database
from tests.support.campaigns import SCORE, refusal
from tests.support.cuts import LOST, cut
from tests.support.score import PERIOD, Halting, Mesh, Score, csv_of, key, mesh_running, score_running

FROZEN, ALLOCATING, STAGED = (
    events_pb2.RUN_STATE_FROZEN,
    events_pb2.RUN_STATE_ALLOCATING,
    events_pb2.RUN_STATE_STAGED,
)
COMMITTED, ABORTED = events_pb2.RUN_STATE_COMMITTED, events_pb2.RUN_STATE_ABORTED
POOL = "foundation:score_rewards"


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Mesh]:
    async with mesh_running(database) as running:
        yield running


def address(number: int) -> str:
    """Cheaper than a key's."""
    return f"0x{number:040x}"


async def holders(score: Score, scores: dict[str, int]) -> dict[str, str]:
    """Accounts of one wallet each; their surrogates."""
    addresses = {account_id: [address(number + 1)] for number, account_id in enumerate(scores)}
    refs = await score.seed_wallets(addresses)
    await score.bring(csv_of({addresses[account_id][0]: points for account_id, points in scores.items()}))
    return refs


async def credits_of(mesh: Mesh, refs: dict[str, str]) -> dict[str, int]:
    rows = await mesh.campaigns.ledger.rows(
        "SELECT account_ref::text, sum(granted_micro)::bigint AS micro FROM credit_lots GROUP BY 1"
    )
    granted = {row["account_ref"]: row["micro"] for row in rows}
    return {account_id: granted.get(account_ref, 0) for account_id, account_ref in refs.items()}


async def pool_of(mesh: Mesh) -> int:
    return (await mesh.campaigns.ledger.balances()).get(POOL, 0)


async def test_a_run_divides_the_pool_and_everybody_can_prove_it(mesh: Mesh) -> None:
    await mesh.pool(1_000_003)
    refs = await holders(mesh.score, {"alice": 1, "bob": 2, "carl": 10**30, "dora": 4})
    run = await mesh.score.rewarded()
    assert (run.state, run.pool_micro, run.accounts) == (COMMITTED, 1_000_003, 4)
    given = await credits_of(mesh, refs)
    assert sum(given.values()) == 1_000_003
    assert given["carl"] == 1_000_003
    assert await mesh.score.allocations(run.run_id) == {refs[name]: micro for name, micro in given.items()}
    assert await pool_of(mesh) == 0
    await mesh.campaigns.check_books()
    public = await mesh.score.holders.GetPublicRun(score_pb2.GetPublicRunRequest())
    assert (public.root.run_id, public.root.root_micro, public.transfer_id) == (
        run.run_id,
        1_000_003,
        run.transfer_id,
    )
    rows = await mesh.campaigns.ledger.rows("SELECT transfer_id::text FROM transfers")
    assert run.transfer_id in {row["transfer_id"] for row in rows}
    for name, account_ref in refs.items():
        made = await mesh.score.proof(name, run.run_id)
        proved = proof.verify(json.loads(made.document), public.root.root_hash)
        assert (str(proved.account_ref), proved.reward_micro, proved.sum_micro) == (account_ref, given[name], 1_000_003)
        assert (made.leaf.reward_micro, made.root) == (given[name], public.root)
    told = [
        events_pb2.RunChanged.FromString(row["payload"])
        for row in await mesh.score.rows("SELECT payload FROM outbox WHERE topic = 'score.runs.v1' ORDER BY id")
    ]
    assert [event.state for event in told] == [FROZEN, ALLOCATING, STAGED, COMMITTED]
    assert (told[-1].root_hash, told[-1].root_micro) == (public.root.root_hash, 1_000_003)


async def test_less_is_divided_where_less_is_configured(database: Database) -> None:
    async with mesh_running(database, RUN_MICRO="1000") as mesh:
        await mesh.pool(5_000)
        refs = await holders(mesh.score, {"alice": 1, "bob": 1, "carl": 1})
        run = await mesh.score.rewarded()
        assert run.pool_micro == 1_000
        assert sorted((await credits_of(mesh, refs)).values()) == [333, 333, 334]
        assert await pool_of(mesh) == 4_000


async def test_thresholds_hold_per_wallet_and_per_account(database: Database) -> None:
    async with mesh_running(database, WALLET_MINIMUM_SCORE="10", ACCOUNT_MINIMUM_SCORE="25") as mesh:
        score = mesh.score
        await mesh.pool(1_000)
        refs = await score.seed_wallets(
            {
                "whole": [address(1)],
                "split": [address(2), address(3), address(4)],
                "dust": [address(5), address(6), address(7), address(8)],
                "small": [address(9), address(10)],
                "absent": [address(11)],
            }
        )
        points = {2: 10, 3: 10, 4: 9, 5: 9, 6: 9, 7: 9, 8: 9, 9: 12, 10: 13, 1: 29}
        await score.bring(csv_of({address(number): value for number, value in points.items()}))
        run = await score.rewarded()
        given = await credits_of(mesh, refs)
        assert given == {"whole": 537, "split": 0, "dust": 0, "small": 463, "absent": 0}
        late = key(500)
        await score.link("split", late)
        explained = {name: await explain(score, name, run.run_id) for name in refs}
        assert {name: int(each.outcome) for name, each in explained.items()} == {
            "whole": Inclusion.INCLUDED,
            "split": Inclusion.ACCOUNT_BELOW_MINIMUM,
            "dust": Inclusion.WALLET_BELOW_MINIMUM,
            "small": Inclusion.INCLUDED,
            "absent": Inclusion.NO_SCORE,
        }
        assert sorted((each.score, int(each.outcome)) for each in explained["split"].wallets) == [
            ("0", Inclusion.LINKED_TOO_LATE),
            ("10", Inclusion.INCLUDED),
            ("10", Inclusion.INCLUDED),
            ("9", Inclusion.WALLET_BELOW_MINIMUM),
        ]
        assert int((await explain(score, "nobody", run.run_id)).outcome) == Inclusion.NO_WALLET
        assert await refusal(score.proof("split", run.run_id)) == "NOT_REWARDED"


async def explain(score: Score, account_id: str, run_id: str) -> score_pb2.ExplainRewardResponse:
    request = score_pb2.ExplainRewardRequest(account_id=account_id, run_id=run_id)
    response: score_pb2.ExplainRewardResponse = await score.holders.ExplainReward(request)
    return response


async def test_rewards_survive_unlinking(mesh: Mesh) -> None:
    await mesh.pool(1_000)
    wallet = key(1)
    await mesh.score.link("alice", wallet)
    await mesh.score.bring(csv_of({wallet.address: 5}))
    run = await mesh.score.rewarded()
    await mesh.score.unlink("alice", wallet)
    listed = await mesh.score.holders.ListRewards(score_pb2.ListRewardsRequest(account_id="alice"))
    assert [(each.run_id, each.reward_micro, each.score) for each in listed.rewards] == [(run.run_id, 1_000, "5")]
    part = (await explain(mesh.score, "alice", run.run_id)).wallets[0]
    assert part.wallet_address == f"0x{wallet.address[2:6].lower()}…{wallet.address[-4:].lower()}"
    proof.verify(json.loads((await mesh.score.proof("alice", run.run_id)).document))


async def test_a_period_has_one_run_whoever_begins_it(mesh: Mesh) -> None:
    await mesh.pool(1_000)
    await holders(mesh.score, {"alice": 1})
    async with score_running(mesh.dsn, mesh.campaigns) as other:
        came_of = await asyncio.gather(
            *(refusal(replica.freeze()) for replica in (mesh.score, other) for _ in range(4)),
        )
        assert sorted(came_of) == [""] + ["RUN_EXISTS"] * 7
        (run,) = await mesh.score.rows("SELECT run_id FROM runs")
        await mesh.score.start(str(run["run_id"]))
        await asyncio.gather(*(replica.advancing.advance(run["run_id"]) for replica in (mesh.score, other) * 3))
    assert (await mesh.score.run(str(run["run_id"]))).state == COMMITTED
    assert await pool_of(mesh) == 0
    await mesh.campaigns.check_books()


async def test_the_schedule_funds_freezes_and_lets_go_once_beside_another_replica(mesh: Mesh) -> None:
    score = mesh.score
    campaign_id = await mesh.campaigns.create(SCORE)
    await mesh.campaigns.activate(campaign_id)
    ledger = mesh.campaigns.ledger
    ledger.clock.advance(score.clock.now() - ledger.clock.now())
    assert not await score.schedule.begin()
    assert await score.rows("SELECT * FROM runs") == []  # no scores yet
    await mesh.campaigns.fill_pool(700)
    refs = await score.seed_wallets({"alice": [address(1)], "bob": [address(2)]})
    taken_at = to_timestamp(score.clock.now() - timedelta(days=10))
    await score.bring(csv_of({address(1): 3, address(2): 4}), taken_at=taken_at)
    async with score_running(mesh.dsn, mesh.campaigns) as other:
        await asyncio.gather(*(replica.schedule.begin() for replica in (score, other) * 3))
        await asyncio.gather(score.advancing.advance_all(), other.advancing.advance_all())
    (run,) = await score.rows("SELECT state, operator_id, pool_micro FROM runs")
    assert tuple(run.values()) == (COMMITTED, "job:run", 700)
    assert await credits_of(mesh, refs) == {"alice": 300, "bob": 400}
    assert not await score.schedule.begin()
    assert len(await score.rows("SELECT * FROM runs")) == 1
    funded = await ledger.rows("SELECT period FROM score_pool_fundings")
    assert [row["period"] for row in funded] == [PERIOD]
    await score.schedule.measure()


async def test_money_that_is_not_there_aborts_and_the_period_may_be_frozen_again(mesh: Mesh) -> None:
    score = mesh.score
    await mesh.campaigns.activate(await mesh.campaigns.create(SCORE))
    await holders(score, {"alice": 1})
    run = await score.rewarded()
    assert (run.state, run.reason) == (ABORTED, "INSUFFICIENT_FUNDS")
    await mesh.campaigns.fill_pool(9)
    again = await score.rewarded()
    assert (again.state, again.pool_micro) == (COMMITTED, 9)
    await mesh.campaigns.check_books()


async def test_nobody_who_counts_aborts(mesh: Mesh) -> None:
    await mesh.pool(100)
    await mesh.score.bring(csv_of({address(1): 5}))
    run = await mesh.score.rewarded()
    assert (run.state, run.reason) == (ABORTED, "NO_PARTICIPANTS")
    assert await pool_of(mesh) == 100


async def test_a_campaign_that_is_paused_is_waited_for(mesh: Mesh) -> None:
    campaign_id = await mesh.pool(100)
    await mesh.campaigns.pause(campaign_id)
    refs = await holders(mesh.score, {"alice": 1})
    run = await mesh.score.rewarded()
    assert run.state == FROZEN
    assert run.reason != ""
    await mesh.campaigns.activate(campaign_id)
    await mesh.score.advancing.advance_all()
    assert await credits_of(mesh, refs) == {"alice": 100}


async def test_scores_that_are_missing_or_stale_pause_a_run(mesh: Mesh) -> None:
    score = mesh.score
    assert await refusal(score.freeze()) == "RUN_WITHOUT_SCORES"
    old = to_timestamp(score.clock.now() - timedelta(days=40, seconds=1))
    await score.bring(csv_of({address(1): 1}), taken_at=old)
    assert await refusal(score.freeze()) == "SCORES_STALE"
    await score.bring(csv_of({address(1): 1}))
    assert await refusal(score.freeze("2026-12")) == "PERIOD_NOT_OVER"
    assert await refusal(score.freeze("2026-W40")) == "RUN_CADENCE_MISMATCH"
    assert await refusal(score.freeze("november")) == "PERIOD_INVALID"
    assert await refusal(score.freeze(operator_id="")) == "SCORE_ORDER_INVALID"
    assert (await score.freeze()).state == FROZEN


async def test_scores_of_a_rewarded_period_are_what_they_were(mesh: Mesh) -> None:
    await mesh.pool(100)
    await holders(mesh.score, {"alice": 1})
    await mesh.score.rewarded()
    assert await refusal(mesh.score.bring(csv_of({address(1): 2}))) == "PERIOD_REWARDED"
    assert (await mesh.score.bring(csv_of({address(1): 2}), period="2026-12")).score_import.state == 3


async def test_a_preview_says_what_a_run_would_give_and_writes_nothing(mesh: Mesh) -> None:
    score = mesh.score
    empty = await score.admin.PreviewRun(admin_pb2.PreviewRunRequest(period=PERIOD))
    assert list(empty.obstacles) == ["RUN_WITHOUT_SCORES", "NO_PARTICIPANTS", "INSUFFICIENT_FUNDS"]
    await mesh.pool(1_000)
    refs = await holders(score, {"alice": 1, "bob": 3, "carl": 96})
    tried = await score.admin.PreviewRun(admin_pb2.PreviewRunRequest(period=PERIOD))
    assert [(each.account_ref, each.reward_micro) for each in tried.largest] == [
        (refs["carl"], 960),
        (refs["bob"], 30),
        (refs["alice"], 10),
    ]
    assert (tried.pool_micro, tried.accounts, tried.total_score, list(tried.obstacles)) == (1_000, 3, "100", [])
    terms = admin_pb2.RunTerms(configured_micro=99, wallet_minimum="3", account_minimum="1")
    other = await score.admin.PreviewRun(admin_pb2.PreviewRunRequest(period=PERIOD, terms=terms))
    assert [(each.reason, each.accounts) for each in other.excluded] == [("WALLET_BELOW_MINIMUM", 1)]
    assert [each.reward_micro for each in other.largest] == [96, 3]
    assert await score.rows("SELECT * FROM runs") == []
    assert await pool_of(mesh) == 1_000
    bad = admin_pb2.RunTerms(configured_micro=0, wallet_minimum="1", account_minimum="1")
    call = score.admin.PreviewRun(admin_pb2.PreviewRunRequest(period=PERIOD, terms=bad))
    assert await refusal(call) == "RUN_TERMS_INVALID"


@pytest.mark.parametrize("steps", range(6))
async def test_a_run_is_aborted_at_every_stage_and_the_pool_has_its_money_back(mesh: Mesh, steps: int) -> None:
    score = mesh.score
    await mesh.pool(1_000)
    refs = await holders(score, {"alice": 1, "bob": 2})
    run = await score.freeze()
    await score.start(run.run_id)
    try:
        await Halting(score, steps).advance(uuid.UUID(run.run_id))
    except ConnectionResetError:
        aborted = await score.abort(run.run_id)
        assert (aborted.state, aborted.reason) == (ABORTED, "ABORTED_BY_OPERATOR")
        assert (await score.abort(run.run_id)).state == ABORTED
        assert await refusal(score.start(run.run_id)) == "RUN_FINISHED"
        assert await credits_of(mesh, refs) == {"alice": 0, "bob": 0}
        assert await pool_of(mesh) == 1_000
        await mesh.campaigns.check_books()
        assert (await score.rewarded()).state == COMMITTED
    else:
        assert await refusal(score.abort(run.run_id)) == "RUN_FINISHED"
    assert sum((await credits_of(mesh, refs)).values()) == 1_000
    await mesh.campaigns.check_books()


async def test_an_abort_that_meets_the_commit_leaves_one_outcome(mesh: Mesh) -> None:
    score = mesh.score
    await mesh.pool(1_000)
    refs = await holders(score, {"alice": 1, "bob": 2})
    run = await score.freeze()
    await score.start(run.run_id)
    with pytest.raises(ConnectionResetError):
        await Halting(score, 4).advance(uuid.UUID(run.run_id))
    aborted, _ = await asyncio.gather(refusal(score.abort(run.run_id)), score.advancing.advance(uuid.UUID(run.run_id)))
    ended = await score.run(run.run_id)
    given = sum((await credits_of(mesh, refs)).values())
    assert (ended.state, given, aborted) in [(COMMITTED, 1_000, "RUN_FINISHED"), (ABORTED, 0, "")]
    await mesh.campaigns.check_books()


@pytest.mark.parametrize("after", [False, True])
async def test_a_run_that_is_cut_off_anywhere_goes_on_to_the_same_end(mesh: Mesh, *, after: bool) -> None:
    """Connections are lost at every statement in turn: the run's, and distribution's that it calls."""
    score, at = mesh.score, 1
    await mesh.campaigns.activate(await mesh.campaigns.create(SCORE))
    refs = await holders(score, {"alice": 1, "bob": 2, "carl": 3})
    rounds = 0
    while True:
        await mesh.campaigns.fill_pool(601)
        run = await score.freeze()
        await score.start(run.run_id)
        run_id = uuid.UUID(run.run_id)
        with cut(at, after=after) as cutting:
            try:
                await score.advancing.advance(run_id)
            except (*LOST, grpc.aio.AioRpcError):
                pass
        ended = await score.advancing.advance(run_id)
        while ended.state not in (RunState.COMMITTED, RunState.ABORTED):
            ended = await score.advancing.advance(run_id)
        rounds += 1
        assert ended.state is RunState.COMMITTED
        assert sum((await credits_of(mesh, refs)).values()) == 601 * rounds
        assert await pool_of(mesh) == 0
        if not cutting.happened:
            break
        at += 3
        # Make room for the next run of the same period.
        async with score.postgres.transaction() as connection:
            await connection.execute("ALTER TABLE runs DISABLE TRIGGER runs_guard")
            await connection.execute("UPDATE runs SET period = $2 WHERE run_id = $1", run_id, f"done-{rounds}")
            await connection.execute("ALTER TABLE runs ENABLE TRIGGER runs_guard")
    assert rounds > 10
    await mesh.campaigns.check_books()


async def test_what_is_frozen_or_done_cannot_be_changed(mesh: Mesh) -> None:
    await mesh.pool(100)
    await holders(mesh.score, {"alice": 1, "bob": 2})
    await mesh.score.rewarded()
    for statement in (
        "UPDATE runs SET pool_micro = pool_micro + 1",
        "UPDATE runs SET state = 5, reason = 'X'",
        "DELETE FROM runs",
        "UPDATE run_rewards SET reward_micro = reward_micro + 1",
        "DELETE FROM run_nodes",
        "UPDATE run_accounts SET score = score + 1",
        "UPDATE run_wallets SET score = score + 1",
        "UPDATE snapshot_scores SET score = score + 1",
        "DELETE FROM snapshots",
        "TRUNCATE run_changes",
    ):
        with pytest.raises(Exception, match=r"immutable|does not change"):
            async with mesh.score.postgres.transaction() as connection:
                await connection.execute(statement)


async def test_the_rules_and_their_set_based_form_agree(mesh: Mesh) -> None:
    for seed in range(8):
        await agree(mesh.score, random.Random(seed))
        async with mesh.score.postgres.transaction() as connection:
            await connection.execute("TRUNCATE wallets, accounts")


async def agree(score: Score, chance: random.Random) -> None:
    number, addresses = 0, {}
    for account in range(30):
        count = chance.randrange(4) + 1
        addresses[f"account-{account}"] = [address(number + each + 1) for each in range(count)]
        number += count
    refs = await score.seed_wallets(addresses)
    points = {
        each: chance.choice((0, 1, 5, 10, 11, 10**30, chance.randrange(10**20)))
        for own in addresses.values()
        for each in own
        if chance.random() < 0.8
    }
    taken = (await score.bring(csv_of(points))).score_import
    if not taken.snapshot_id:
        asked = {"request_id": str(uuid.uuid4()), "import_id": taken.import_id, "operator_id": "otto", "reason": "fine"}
        taken = (await score.admin.ApproveImport(admin_pb2.ApproveImportRequest(**asked))).score_import
    terms = Terms(1, chance.choice((0, 1, 10)), chance.choice((0, 12, 10**20)))
    async with score.postgres.connection() as connection:
        tried = await runs.attempt(connection, uuid.UUID(taken.snapshot_id), terms)
    wanted = {}
    for account_id, own in addresses.items():
        parts = [(points.get(each, 0), rules.wallet_outcome(points.get(each), terms)) for each in own]
        wanted[account_id] = rules.account_standing(parts, terms)
    assert {str(each.account_ref): each.score for each in tried.participants} == {
        refs[name]: each.score for name, each in wanted.items() if each.outcome is Inclusion.INCLUDED
    }
    excluded = [each.outcome for each in wanted.values() if each.outcome is not Inclusion.INCLUDED]
    assert tried.excluded == {outcome: excluded.count(outcome) for outcome in set(excluded)}


async def test_requests_again_and_unknown_runs(mesh: Mesh) -> None:
    score = mesh.score
    await holders(score, {"alice": 1})
    asked = {"request_id": "freeze", "period": PERIOD, **score.order}
    first = await score.admin.FreezeRun(admin_pb2.FreezeRunRequest(**asked))
    assert await score.admin.FreezeRun(admin_pb2.FreezeRunRequest(**asked)) == first
    unknown = str(uuid.uuid4())
    for call in (
        score.run(unknown),
        score.start(unknown),
        score.abort(unknown),
        score.allocations(unknown),
        score.proof("alice", unknown),
        explain(score, "alice", first.run.run_id),
        score.holders.GetPublicRun(score_pb2.GetPublicRunRequest()),
    ):
        assert await refusal(call) == "RUN_UNKNOWN"
    assert await refusal(score.run("x")) == "SCORE_ID_INVALID"
    listed = await score.admin.ListRuns(admin_pb2.ListRunsRequest())
    assert [each.run_id for each in listed.runs] == [first.run.run_id]
    call = score.admin.ListAllocations(admin_pb2.ListAllocationsRequest(run_id=first.run.run_id, page_token="x"))
    assert await refusal(call) == "SCORE_PAGE_INVALID"


async def test_allocations_and_rewards_are_paged(mesh: Mesh) -> None:
    score = mesh.score
    await mesh.pool(10_000)
    refs = await holders(score, {f"account-{number}": number // 2 + 1 for number in range(9)})
    run = await score.rewarded()
    token, found = "", []
    while True:
        page = await score.admin.ListAllocations(
            admin_pb2.ListAllocationsRequest(run_id=run.run_id, page_size=2, page_token=token)
        )
        found += [(each.reward_micro, each.account_ref) for each in page.allocations]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(found, key=lambda row: (-row[0], row[1]))
    assert {account_ref for _, account_ref in found} == set(refs.values())


async def test_many_accounts_are_rewarded_in_batches(mesh: Mesh) -> None:
    count = 2_345
    await mesh.pool(10**9)
    refs = await mesh.score.seed_wallets({f"account-{number}": [address(number + 1)] for number in range(count)})
    await mesh.score.bring(csv_of({address(number + 1): number + 1 for number in range(count)}))
    run = await mesh.score.rewarded()
    assert (run.state, run.accounts, run.staged) == (COMMITTED, count, count)
    given = await credits_of(mesh, refs)
    assert sum(given.values()) == 10**9
    staged = (
        await mesh.campaigns.stub.GetStagedGrant(campaigns_pb2.GetStagedGrantRequest(staged_grant_id=run.run_id))
    ).staged_grant
    assert staged.transfer_id == run.transfer_id
    made = await mesh.score.proof("account-7", run.run_id)
    proof.verify(json.loads(made.document), run.root_hash)


async def test_periods_that_passed_while_nobody_looked_are_made_up_for_one_after_the_other(mesh: Mesh) -> None:
    score, ledger = mesh.score, mesh.campaigns.ledger
    await mesh.campaigns.activate(await mesh.campaigns.create(SCORE))
    await mesh.campaigns.fill_pool(900)
    await score.seed_wallets({"alice": [address(1)]})
    await score.bring(csv_of({address(1): 3}), taken_at=to_timestamp(score.clock.now() - timedelta(days=5)))
    score.clock.advance(timedelta(days=31))
    ledger.clock.advance(score.clock.now() - ledger.clock.now())
    assert await score.schedule.begin()
    assert await score.schedule.begin()  # one is under way: the next one waits
    assert len(await score.rows("SELECT * FROM runs")) == 1
    await score.advancing.advance_all()
    assert await score.schedule.begin()
    await score.advancing.advance_all()
    assert not await score.schedule.begin()
    rows = await score.rows("SELECT period, state, reason FROM runs ORDER BY period")
    assert [tuple(row.values()) for row in rows] == [
        (PERIOD, COMMITTED, ""),
        ("2026-12", ABORTED, "INSUFFICIENT_FUNDS"),
    ]
