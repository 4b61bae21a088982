"""Files of scores are taken whole or not at all, and every bad line is named."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from deploy.local.demo.economy import DATA
from libs.timestamps import to_timestamp
from protos.score.v1 import admin_pb2, score_pb2
from services.score.commands.imports import give_up_silent
from services.score.commands.pulling import PullFailed, pull
from services.score.model import Order
from tests.conftest import Database
from tests.support.campaigns import refusal
from tests.support.eventually import eventually
from tests.support.score import PERIOD, Mesh, Score, csv_of, key, mesh_running

HOLDERS = DATA
ALICE, BOB, CARL = key(1), key(2), key(3)
ACCEPTED, WAITING = admin_pb2.IMPORT_STATE_ACCEPTED, admin_pb2.IMPORT_STATE_AWAITING_APPROVAL
REFUSED, REJECTED = admin_pb2.IMPORT_STATE_REFUSED, admin_pb2.IMPORT_STATE_REJECTED


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Mesh]:
    async with mesh_running(database) as running:
        yield running


@pytest.fixture
def score(mesh: Mesh) -> Score:
    return mesh.score


async def decided(score: Score, import_id: str, operator_id: str, *, approve: bool = True) -> int:
    asked = {"request_id": str(uuid.uuid4()), "import_id": import_id, "operator_id": operator_id, "reason": "looked"}
    if approve:
        answer = await score.admin.ApproveImport(admin_pb2.ApproveImportRequest(**asked))
    else:
        answer = await score.admin.RejectImport(admin_pb2.RejectImportRequest(**asked))
    return int(answer.score_import.state)


async def left_over(score: Score) -> int:
    rows = await score.rows("SELECT count(*) AS lines FROM import_lines")
    return int(rows[0]["lines"])


@pytest.mark.parametrize(
    ("name", "decimals", "holders"),
    [
        ("nft_holders_building_mainnet.csv", 0, 291),
        ("nft_holders_mini_building_base.csv", 0, 654),
        ("token_holders_hunt_mainnet.csv", 14, 1000),
    ],
)
async def test_real_lists_of_holders_are_taken_exactly(score: Score, name: str, decimals: int, holders: int) -> None:
    file = (HOLDERS / name).read_bytes()
    taken = (await score.bring(file, decimals=decimals, sha256=hashlib.sha256(file).digest())).score_import
    weights = [Decimal(line.split(",")[1]) for line in file.decode().splitlines()[1:]]
    assert (taken.state, taken.wallets, taken.bad_lines) == (ACCEPTED, holders, 0)
    assert Decimal(taken.total_score) == sum(weights) * 10**decimals
    assert (taken.bytes, taken.sha256) == (len(file), hashlib.sha256(file).digest())
    first = await score.admin.ListSnapshotScores(
        admin_pb2.ListSnapshotScoresRequest(snapshot_id=taken.snapshot_id, page_size=1000)
    )
    assert len(first.scores) == holders
    wanted = {line.split(",")[0]: int(Decimal(line.split(",")[1]) * 10**decimals) for line in file.decode().split()[1:]}
    assert {each.wallet_address: int(each.score) for each in first.scores} == wanted
    assert await left_over(score) == 0


async def test_a_file_with_bad_lines_takes_nothing_and_names_them_all(score: Score) -> None:
    file = csv_of({ALICE.address: 1, "0x12": 2, BOB.address: "1.5", CARL.address: "1e5"}) + b"\n,\n"
    taken = (await score.bring(file, piece=7)).score_import
    assert (taken.state, taken.bad_lines, taken.snapshot_id) == (REFUSED, 4, "")
    assert [(line, reason) for line, reason, _ in await score.errors(taken.import_id)] == [
        (3, "ADDRESS_INVALID"),
        (4, "TOO_MANY_DECIMALS"),
        (5, "SCORE_INVALID"),
        (7, "ADDRESS_INVALID"),
    ]
    assert await left_over(score) == 0
    assert await score.rows("SELECT * FROM snapshots") == []
    corrected = await score.bring(csv_of({ALICE.address: 1}))
    assert corrected.score_import.state == ACCEPTED


async def test_an_address_that_comes_twice_is_a_bad_line_in_whatever_spelling(score: Score) -> None:
    lines = [f"{ALICE.address},1", f"{BOB.address},1", f"{ALICE.address.lower()},1", f"{ALICE.address},2"]
    taken = (await score.bring("\n".join(["address,score", *lines]).encode())).score_import
    assert taken.state == REFUSED
    assert [(line, reason) for line, reason, _ in await score.errors(taken.import_id)] == [
        (4, "DUPLICATE_ADDRESS"),
        (5, "DUPLICATE_ADDRESS"),
    ]


@pytest.mark.parametrize(
    ("file", "changed", "reason"),
    [
        (b"", {}, "NO_SCORES"),
        (b"address,score\n", {}, "NO_SCORES"),
        (b"who,what\n1,2\n", {}, "HEADER_WITHOUT_ADDRESS_AND_SCORE"),
        (csv_of({ALICE.address: 1}), {"sha256": b"\0" * 32}, "SHA256_MISMATCH"),
    ],
)
async def test_a_file_that_is_wrong_as_a_whole_is_refused(
    score: Score, file: bytes, changed: dict[str, Any], reason: str
) -> None:
    taken = (await score.bring(file, **changed)).score_import
    assert taken.state == REFUSED
    assert [each[1] for each in await score.errors(taken.import_id)] == [reason]
    assert await left_over(score) == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"period": "2026"}, "PERIOD_INVALID"),
        ({"format": 0}, "IMPORT_FORMAT_INVALID"),
        ({"format": 9}, "IMPORT_FORMAT_INVALID"),
        ({"decimals": 31}, "IMPORT_DECIMALS_INVALID"),
        ({"decimals": -1}, "IMPORT_DECIMALS_INVALID"),
        ({"source": ""}, "IMPORT_SOURCE_INVALID"),
        ({"source": "a\nb"}, "IMPORT_SOURCE_INVALID"),
        ({"sha256": b"short"}, "IMPORT_HASH_INVALID"),
        ({"operator_id": ""}, "SCORE_ORDER_INVALID"),
        ({"reason": " "}, "SCORE_ORDER_INVALID"),
        ({"request_id": ""}, "REQUEST_ID_INVALID"),
        ({"taken_at": None}, "IMPORT_TIME_INVALID"),
    ],
)
async def test_a_header_that_is_wrong_is_refused(score: Score, changed: dict[str, Any], reason: str) -> None:
    assert await refusal(score.bring(csv_of({ALICE.address: 1}), **changed)) == reason
    assert await score.rows("SELECT * FROM imports") == []


async def test_scores_of_the_future_are_refused(score: Score) -> None:
    late = to_timestamp(score.clock.now() + timedelta(minutes=6))
    assert await refusal(score.bring(csv_of({ALICE.address: 1}), taken_at=late)) == "IMPORT_TIME_INVALID"


async def test_a_file_begins_with_its_header(score: Score) -> None:
    async def send(*parts: admin_pb2.ImportScoresRequest) -> str:
        return await refusal(score.admin.ImportScores(iter(parts)))

    assert await send() == "IMPORT_HEADER_MISSING"
    assert await send(admin_pb2.ImportScoresRequest(chunk=b"x")) == "IMPORT_HEADER_MISSING"
    assert await send(admin_pb2.ImportScoresRequest()) == "IMPORT_HEADER_MISSING"
    assert await refusal(score.bring(b"x" * (2**20 + 1), piece=2**21)) == "IMPORT_CHUNK_TOO_LARGE"
    assert [row["state"] for row in await score.rows("SELECT state FROM imports")] == [REFUSED]


async def test_a_file_that_is_too_large_is_given_up(database: Database) -> None:
    async with mesh_running(database, IMPORT_MAX_BYTES="100") as mesh:
        many = {key(number).address: 1 for number in range(1, 9)}
        assert await refusal(mesh.score.bring(csv_of(many), piece=64)) == "IMPORT_TOO_LARGE"
        assert await left_over(mesh.score) == 0


async def test_the_same_request_again_gets_the_same_answer_also_at_once(score: Score) -> None:
    file, request_id = csv_of({ALICE.address: 1}), str(uuid.uuid4())
    taken_at = to_timestamp(score.clock.now())
    first = await score.bring(file, request_id=request_id, taken_at=taken_at)
    again = await score.bring(file, request_id=request_id, taken_at=taken_at)
    assert again.replayed
    assert again.score_import == first.score_import
    other = score.bring(file, request_id=request_id, taken_at=taken_at, source="elsewhere")
    assert await refusal(other) == "REQUEST_ID_REUSED"
    both = await asyncio.gather(*(score.bring(file, request_id="together", taken_at=taken_at) for _ in range(4)))
    assert len({each.score_import.import_id for each in both}) == 1
    assert len(await score.rows("SELECT * FROM snapshots")) == 2
    assert await left_over(score) == 0


async def test_a_total_that_moves_too_far_waits_for_a_second_operator(score: Score) -> None:
    await score.bring(csv_of({ALICE.address: 100}))
    assert (await score.bring(csv_of({ALICE.address: 150}))).score_import.state == ACCEPTED
    assert (await score.bring(csv_of({ALICE.address: 75}))).score_import.state == ACCEPTED
    waiting = (await score.bring(csv_of({ALICE.address: 113}))).score_import
    assert (waiting.state, waiting.former_total_score, waiting.snapshot_id) == (WAITING, "75", "")
    assert await refusal(decided(score, waiting.import_id, "olga")) == "IMPORT_APPROVER_SAME"
    assert await refusal(decided(score, waiting.import_id, "Olga")) == "IMPORT_APPROVER_SAME"
    both = await asyncio.gather(
        *(refusal(decided(score, waiting.import_id, f"otto-{number}", approve=number % 2 == 0)) for number in range(6))
    )
    assert sorted(both) == [""] + ["IMPORT_NOT_AWAITING"] * 5
    assert await left_over(score) == 0
    dropped = (await score.bring(csv_of({ALICE.address: 1_000}))).score_import
    assert await decided(score, dropped.import_id, "otto", approve=False) == REJECTED
    assert await decided(score, dropped.import_id, "otto", approve=False) == REJECTED
    assert await refusal(decided(score, dropped.import_id, "otto")) == "IMPORT_NOT_AWAITING"


async def test_wallets_show_the_newest_scores(score: Score) -> None:
    await score.link("alice", ALICE)
    await score.link("alice", BOB)
    await score.bring(csv_of({ALICE.address: 10**30, CARL.address: 5}), format=admin_pb2.SCORE_FORMAT_CSV)
    response = await score.holders.ListWallets(score_pb2.ListWalletsRequest(account_id="alice"))
    assert [(each.score, each.below_minimum) for each in response.wallets] == [(str(10**30), False), ("0", True)]
    assert response.scores_as_of == to_timestamp(score.clock.now())


async def test_a_reader_that_is_gone_leaves_nothing(score: Score) -> None:
    header = admin_pb2.ImportHeader(
        request_id="gone", period=PERIOD, format=admin_pb2.SCORE_FORMAT_CSV, source="test",
        taken_at=to_timestamp(score.clock.now()), operator_id="olga", reason="monthly",
    )  # fmt: skip
    sent = asyncio.Event()

    async def parts() -> AsyncIterator[admin_pb2.ImportScoresRequest]:
        yield admin_pb2.ImportScoresRequest(header=header)
        yield admin_pb2.ImportScoresRequest(chunk=csv_of({ALICE.address: 1}))
        sent.set()
        await asyncio.Event().wait()

    call = score.admin.ImportScores(parts())
    await sent.wait()

    async def in_state(state: int) -> bool:
        return [row["state"] for row in await score.rows("SELECT state FROM imports")] == [state]

    await eventually(lambda: in_state(admin_pb2.IMPORT_STATE_READING))
    call.cancel()
    await eventually(lambda: in_state(REFUSED))
    import_id = str((await score.rows("SELECT import_id FROM imports"))[0]["import_id"])
    assert [each[1] for each in await score.errors(import_id)] == ["INTERRUPTED"]
    assert await left_over(score) == 0


async def test_an_import_whose_process_died_is_given_up(score: Score) -> None:
    await score.bring(csv_of({ALICE.address: 1}))
    async with score.postgres.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO imports (import_id, period, source, operator_id, reason, decimals, taken_at, started_at,
                moved_at)
            SELECT gen_random_uuid(), period, source, operator_id, reason, 0, taken_at, started_at,
                now() - interval '6 minutes'
            FROM imports
            """
        )
    assert await give_up_silent(score.postgres, score.clock, timedelta(minutes=5)) == 1
    assert await give_up_silent(score.postgres, score.clock, timedelta(minutes=5)) == 0


async def test_pages_go_on_where_they_ended(score: Score) -> None:
    many = {key(number).address: number for number in range(1, 8)}
    taken = [(await score.bring(csv_of(many))).score_import for _ in range(3)]
    first = await score.admin.ListImports(admin_pb2.ListImportsRequest(page_size=2))
    rest = await score.admin.ListImports(
        admin_pb2.ListImportsRequest(page_size=2, page_token=first.next_page_token, state=ACCEPTED)
    )
    assert [each.import_id for each in [*first.imports, *rest.imports]] == [each.import_id for each in taken[::-1]]
    assert rest.next_page_token == ""
    token, found = "", []
    while True:
        page = await score.admin.ListSnapshotScores(
            admin_pb2.ListSnapshotScoresRequest(snapshot_id=taken[0].snapshot_id, page_size=3, page_token=token)
        )
        found += [(each.wallet_address, each.score) for each in page.scores]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(((address, str(number)) for address, number in many.items()), key=lambda row: row[0].lower())
    alone = await score.admin.ListSnapshotScores(
        admin_pb2.ListSnapshotScoresRequest(snapshot_id=taken[0].snapshot_id, wallet_address=key(3).address)
    )
    assert [each.score for each in alone.scores] == ["3"]
    snapshots = await score.admin.ListSnapshots(admin_pb2.ListSnapshotsRequest(page_size=200))
    assert [each.snapshot_id for each in snapshots.snapshots] == [each.snapshot_id for each in taken[::-1]]
    unknown = str(uuid.uuid4())
    assert await refusal(score.admin.GetImport(admin_pb2.GetImportRequest(import_id=unknown))) == "IMPORT_UNKNOWN"
    call = score.admin.ListSnapshotScores(admin_pb2.ListSnapshotScoresRequest(snapshot_id=unknown))
    assert await refusal(call) == "SNAPSHOT_UNKNOWN"
    assert await refusal(score.admin.ListImports(admin_pb2.ListImportsRequest(state=9))) == "IMPORT_STATE_INVALID"  # type: ignore[arg-type]
    assert await refusal(score.admin.ListImports(admin_pb2.ListImportsRequest(page_size=-1))) == "SCORE_PAGE_INVALID"


async def test_scores_are_pulled_when_they_are_new(database: Database) -> None:
    files = [csv_of({ALICE.address: 7}), csv_of({ALICE.address: 8})]
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        tag = request.headers.get("If-None-Match")
        asked.append(tag)
        if len(asked) == 3:
            return web.Response(status=500)
        file = files[0] if len(asked) < 5 else files[1]
        etag = f'"{len(file)}{hash(file)}"'
        # The fourth time the source forgets its mark: the hash tells.
        if tag == etag and len(asked) != 4:
            return web.Response(status=304)
        modified = "Tue, 01 Dec 2026 00:00:00 GMT"
        return web.Response(body=file, headers={"ETag": etag, "Last-Modified": modified})

    application = web.Application()
    application.router.add_get("/scores.csv", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/scores.csv"
    order = Order("job:pull", "test")
    try:
        async with mesh_running(database, PULL_URL=url) as mesh:
            score = mesh.score

            async def pulled() -> str:
                asked_for = {"request_id": str(uuid.uuid4()), **score.order}
                response = await score.admin.PullScores(admin_pb2.PullScoresRequest(**asked_for))
                return "unchanged" if response.unchanged else response.score_import.total_score

            assert await pulled() == "7"
            assert await pulled() == "unchanged"
            with pytest.raises(PullFailed):
                await pull(score.postgres, score.clock, score.settings, order)
            assert await pulled() == "unchanged"
            assert await pulled() == "8"
            rows = await score.rows("SELECT taken_at, source FROM imports ORDER BY import_id")
            assert [(row["taken_at"].isoformat(), row["source"]) for row in rows] == [
                ("2026-12-01T00:00:00+00:00", "pull")
            ] * 2
    finally:
        await runner.cleanup()


async def test_ten_thousand_wallets_come_in_pieces(score: Score) -> None:
    """A hundredth of the size that `make bench` measures."""
    many = {f"0x{number:040x}": f"{number}.{number % 100:02}" for number in range(1, 10_001)}
    taken = (await score.bring(csv_of(many), decimals=2, piece=2**15)).score_import
    assert (taken.state, taken.wallets, taken.lines) == (ACCEPTED, 10_000, 10_001)
    assert int(taken.total_score) == sum(100 * number + number % 100 for number in range(1, 10_001))


async def test_without_an_address_nothing_is_pulled(score: Score) -> None:
    call = score.admin.PullScores(admin_pb2.PullScoresRequest(request_id="once", **score.order))
    assert await refusal(call) == "PULL_NOT_CONFIGURED"
