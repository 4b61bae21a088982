"""Wallets are linked by those who hold their keys, and by nobody else."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from eth_abi.abi import decode
from eth_account import Account

from libs import erasure
from protos.score.v1 import events_pb2, score_pb2
from services.score.commands import wallets as commands
from services.score.consumers import erasures
from services.score.store import accounts
from tests.conftest import Database
from tests.support.campaigns import refusal
from tests.support.score import Mesh, Score, key, mesh_running, score_running, signed

ALICE, BOB = key(1), key(2)
VECTORS = Path(__file__).parent.parent / "data" / "personal_sign.json"


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Mesh]:
    async with mesh_running(database) as running:
        yield running


@pytest.fixture
def score(mesh: Mesh) -> Score:
    return mesh.score


async def wallets_of(score: Score, account_id: str) -> list[str]:
    response = await score.holders.ListWallets(score_pb2.ListWalletsRequest(account_id=account_id))
    return [each.wallet_address for each in response.wallets]


async def events(score: Score) -> list[events_pb2.WalletChanged]:
    rows = await score.rows("SELECT payload FROM outbox ORDER BY id")
    return [events_pb2.WalletChanged.FromString(row["payload"]) for row in rows]


async def test_a_wallet_is_linked_told_and_unlinked(score: Score) -> None:
    linked = await score.link("alice", ALICE)
    assert (linked.wallet.wallet_address, linked.wallet.score, linked.already_linked) == (ALICE.address, "0", False)
    assert await wallets_of(score, "alice") == [ALICE.address]
    owner = await score.holders.GetWalletOwner(score_pb2.GetWalletOwnerRequest(wallet_address=ALICE.address))
    short = await score.holders.ListShortAddresses(
        score_pb2.ListShortAddressesRequest(account_refs=[owner.account_ref, str(uuid.uuid4())])
    )
    assert [each.short_address for each in short.addresses] == [
        f"0x{ALICE.address[2:6].lower()}…{ALICE.address[-4:].lower()}"
    ]
    unlinked = await score.unlink("alice", ALICE)
    assert unlinked.unlinked
    assert unlinked.free_from.ToDatetime() == score.clock.now().replace(tzinfo=None) + timedelta(days=30)
    assert await wallets_of(score, "alice") == []
    assert not (await score.unlink("alice", ALICE)).unlinked
    first, second = await events(score)
    assert (first.state, first.revision, second.state, second.revision) == (1, 1, 2, 2)
    assert first.wallet_ref == second.wallet_ref
    assert first.account_ref == owner.account_ref
    everything = b"".join(row["payload"] for row in await score.rows("SELECT payload FROM outbox"))
    assert b"alice" not in everything
    assert bytes.fromhex(ALICE.address[2:]) not in everything


async def test_the_same_call_again_gets_the_same_wallet_until_it_is_unlinked(score: Score) -> None:
    asked = await score.challenge("alice", ALICE)
    signature = signed(ALICE, asked.text)
    first = await score.try_link("alice", ALICE, asked.nonce, signature)
    again = await score.try_link("alice", ALICE, asked.nonce, signature)
    assert again.already_linked
    assert again.wallet == first.wallet
    await score.unlink("alice", ALICE)
    assert await refusal(score.try_link("alice", ALICE, asked.nonce, signature)) == "CHALLENGE_USED"
    assert await wallets_of(score, "alice") == []


async def test_a_challenge_is_used_up_by_a_bad_signature(score: Score) -> None:
    asked = await score.challenge("alice", ALICE)
    good = signed(ALICE, asked.text)
    bad = signed(BOB, asked.text)
    assert await refusal(score.try_link("alice", ALICE, asked.nonce, bad)) == "WALLET_SIGNATURE_MISMATCH"
    assert await refusal(score.try_link("alice", ALICE, asked.nonce, good)) == "CHALLENGE_USED"
    assert await wallets_of(score, "alice") == []


async def test_each_wrong_signature_has_its_reason(score: Score) -> None:
    async def tried(signature_of: object) -> str:
        asked = await score.challenge("alice", ALICE)
        signature = signature_of(asked.text) if callable(signature_of) else str(signature_of)
        return await refusal(score.try_link("alice", ALICE, asked.nonce, signature))

    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

    def mirrored(text: str) -> str:
        raw = bytes.fromhex(signed(ALICE, text)[2:])
        return (raw[:32] + (order - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([55 - raw[64]])).hex()

    assert await tried(mirrored) == "WALLET_SIGNATURE_MALLEABLE"
    assert await tried(lambda text: signed(ALICE, text.replace("alice", "mallory"))) == "WALLET_SIGNATURE_MISMATCH"
    assert await tried(lambda text: signed(ALICE, text) + "00") == "CONTRACT_WALLETS_UNSUPPORTED"
    assert await tried(lambda text: signed(ALICE, text)[:-2]) == "CONTRACT_WALLETS_UNSUPPORTED"
    assert await tried("00" * 65) == "WALLET_SIGNATURE_INVALID"
    assert await tried("hello") == "WALLET_SIGNATURE_INVALID"
    assert await tried("") == "WALLET_SIGNATURE_INVALID"
    assert await wallets_of(score, "alice") == []


async def test_a_challenge_is_of_one_account_wallet_and_chain_and_five_minutes(score: Score) -> None:
    asked = await score.challenge("alice", ALICE)
    signature = signed(ALICE, asked.text)
    await score.challenge("bob", BOB)
    assert await refusal(score.try_link("bob", ALICE, asked.nonce, signature)) == "CHALLENGE_UNKNOWN"
    assert await refusal(score.try_link("nobody", ALICE, asked.nonce, signature)) == "CHALLENGE_UNKNOWN"
    assert await refusal(score.try_link("alice", BOB, asked.nonce, signature)) == "CHALLENGE_OF_OTHER_WALLET"
    assert await refusal(score.try_link("alice", ALICE, asked.nonce, signature, 8453)) == "CHALLENGE_OF_OTHER_CHAIN"
    assert await refusal(score.try_link("alice", ALICE, "00" * 16, signature)) == "CHALLENGE_UNKNOWN"
    score.clock.advance(timedelta(minutes=5))
    assert await refusal(score.try_link("alice", ALICE, asked.nonce, signature)) == "CHALLENGE_EXPIRED"
    assert await refusal(score.challenge("alice", ALICE, 5)) == "WALLET_CHAIN_UNSUPPORTED"
    fresh = await score.challenge("alice", ALICE)
    score.clock.advance(timedelta(minutes=4, seconds=59))
    await score.try_link("alice", ALICE, fresh.nonce, signed(ALICE, fresh.text))


async def test_a_wallet_is_one_accounts_on_all_chains_and_rests_before_it_is_anothers(score: Score) -> None:
    await score.link("alice", ALICE, 1)
    assert await refusal(score.link("bob", ALICE, 8453)) == "WALLET_TAKEN"
    assert (await score.link("alice", ALICE, 8453)).already_linked
    await score.unlink("alice", ALICE)
    assert await refusal(score.link("bob", ALICE)) == "WALLET_COOLING_DOWN"
    await score.link("alice", ALICE)
    await score.unlink("alice", ALICE)
    score.clock.advance(timedelta(days=30))
    await score.link("bob", ALICE)
    assert not (await score.unlink("alice", ALICE)).unlinked
    assert await wallets_of(score, "bob") == [ALICE.address]


async def test_an_account_has_ten_wallets_also_when_all_are_linked_at_once(score: Score) -> None:
    async def link(number: int) -> str:
        return await refusal(score.link("alice", key(100 + number)))

    came_of = await asyncio.gather(*(link(number) for number in range(16)))
    assert sorted(came_of) == [""] * 10 + ["TOO_MANY_WALLETS"] * 6
    assert len(await wallets_of(score, "alice")) == 10


async def test_one_of_many_accounts_that_link_a_wallet_at_once_has_it(mesh: Mesh) -> None:
    async with score_running(mesh.dsn, mesh.campaigns) as other:
        replicas = [mesh.score, other]

        async def link(number: int) -> str:
            return await refusal(replicas[number % 2].link(f"account-{number}", ALICE))

        came_of = await asyncio.gather(*(link(number) for number in range(12)))
    assert sorted(came_of) == [""] + ["WALLET_TAKEN"] * 11
    assert len(await events(mesh.score)) == 1


async def test_a_challenge_tried_many_times_at_once_counts_once(score: Score) -> None:
    asked = await score.challenge("alice", ALICE)
    good, bad = signed(ALICE, asked.text), signed(BOB, asked.text)
    tries = [score.try_link("alice", ALICE, asked.nonce, good if number else bad) for number in range(8)]
    came_of = {await each for each in asyncio.as_completed([refusal(each) for each in tries])}
    assert came_of <= {"", "CHALLENGE_USED", "WALLET_SIGNATURE_MISMATCH"}
    assert len(await events(score)) <= 1


async def test_challenges_are_limited_and_dropped(score: Score) -> None:
    for _ in range(30):
        await score.challenge("alice", ALICE)
    assert await refusal(score.challenge("alice", ALICE)) == "TOO_MANY_CHALLENGES"
    await score.challenge("bob", BOB)
    score.clock.advance(timedelta(days=1, minutes=6))
    assert await commands.drop_challenges(score.postgres, score.clock.now()) == 31
    assert await score.rows("SELECT * FROM challenges") == []


async def test_a_wallet_that_is_a_contract_is_asked_on_its_chain(database: Database) -> None:
    owner, wallet = key(3), Account.from_key("0x" + "05" * 32)
    asked_for: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        """A node with one contract, whose owner is `owner`: what isValidSignature of a simple wallet does."""
        call = await request.json()
        asked_for.append(call["method"])
        if call["method"] != "eth_call":
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": "0x1"})
        data = bytes.fromhex(call["params"][0]["data"][2:])
        digest, signature = decode(["bytes32", "bytes"], data[4:])
        if len(signature) == 1:
            error = {"code": 3, "message": "execution reverted"}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        signer = Account._recover_hash(digest, signature=signature[:65])
        word = "1626ba7e" if signer == owner.address else "00000000"
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": "0x" + word + "00" * 28})

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with mesh_running(
            database, CHAIN_ENDPOINTS=f"8453=http://127.0.0.1:{port}/ 10=http://127.0.0.1:9/"
        ) as mesh:
            score = mesh.score

            async def tried(chain_id: int, sign: object, tail: str = "aabb") -> str:
                asked = await score.challenge("alice", wallet, chain_id)
                signature = signed(sign, asked.text) + tail if sign else "0x00"
                return await refusal(score.try_link("alice", wallet, asked.nonce, signature, chain_id))

            assert await tried(8453, BOB) == "CONTRACT_SIGNATURE_REFUSED"
            assert await tried(8453, None) == "CONTRACT_SIGNATURE_REFUSED"
            assert await tried(10, owner) == "CHAIN_UNREACHABLE"
            assert await tried(1, owner) == "CONTRACT_WALLETS_UNSUPPORTED"
            assert await tried(8453, owner) == ""
            assert await wallets_of(score, "alice") == [wallet.address]
            await score.unlink("alice", wallet)
            assert await tried(8453, owner, tail="") == ""
    finally:
        await runner.cleanup()
    assert set(asked_for) <= {"eth_call", "eth_chainId"}


async def test_an_erased_account_leaves_no_wallet_and_comes_back_as_somebody_new(score: Score) -> None:
    await score.link("alice", ALICE)
    await score.challenge("alice", BOB)
    before = await score.account_refs.known("alice")
    assert before is not None
    async with score.postgres.transaction() as connection:
        gone = await erasure.forget(
            connection,
            lambda connection, account_ref, _at: accounts.erase(connection, account_ref),
            account_ref=before,
            erasure_id=uuid.uuid4(),
            erased_at=score.clock.now(),
        )
    assert gone == 4
    for table in ("accounts", "wallets", "challenges"):
        assert await score.rows(f"SELECT * FROM {table}") == []  # noqa: S608 - constant
    assert await refusal(score.link("alice", ALICE)) != ""  # referral does not know yet: the late answer is not kept
    assert await score.rows("SELECT * FROM wallets") == []


def test_erasures_are_listened_to() -> None:
    stub = object()
    assert erasures(stub).message_type.__name__ == "AccountErased"  # type: ignore[arg-type]


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text())["vectors"], ids=lambda vector: vector["wallet"][:10])
async def test_signatures_of_another_implementation_link(score: Score, vector: dict[str, str]) -> None:
    """Made once by ethers from npm, over challenges whose nonce and instant were given to it; see the file's head."""
    nonce = bytes.fromhex(vector["nonce"])
    account_ref = await score.account_refs.made(vector["account"])
    issued_at = score.clock.now().fromisoformat(vector["issued_at"])
    async with score.postgres.transaction() as connection:
        await connection.execute(
            """
            INSERT INTO challenges (nonce, account_ref, address, chain_id, issued_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            nonce,
            account_ref,
            bytes.fromhex(vector["wallet"][2:]),
            int(vector["chain_id"]),
            issued_at,
            score.clock.now() + timedelta(minutes=5),
        )
    request = score_pb2.LinkWalletRequest(
        account_id=vector["account"],
        wallet_address=vector["wallet"],
        chain_id=int(vector["chain_id"]),
        nonce=vector["nonce"],
        signature=vector["signature"],
    )
    try:
        linked = await score.holders.LinkWallet(request)
    except grpc.aio.AioRpcError as error:
        pytest.fail(str(error.details()))
    assert linked.wallet.wallet_address == vector["wallet"]
