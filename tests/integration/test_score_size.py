"""Score at full size: a million wallets imported, a hundred thousand accounts rewarded."""

import contextlib
import json
import resource
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from protos.score.v1 import admin_pb2, events_pb2
from services.score.rules import proof
from tests.conftest import Database
from tests.support.score import Halting, Mesh, mesh_running

WALLETS = 1_000_000
ACCOUNTS = 100_000


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Mesh]:
    async with mesh_running(database, RUN_MICRO=str(10**12)) as running:
        yield running


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_a_million_wallets_are_imported_and_a_hundred_thousand_accounts_rewarded(mesh: Mesh) -> None:
    score = mesh.score
    await mesh.pool(10**12)
    await score.seed_wallets({f"account-{number}": [f"0x{number:040x}"] for number in range(1, ACCOUNTS + 1)})
    file = b"address,score\n" + b"".join(b"0x%040x,%d.%06d\n" % (each, each, each % 10**6) for each in range(WALLETS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    # Without the client's deadline: a stream has none of its own.
    taken = (await score.bring(file, decimals=6, piece=2**18)).score_import
    imported_s = time.monotonic() - began
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (taken.state, taken.wallets) == (admin_pb2.IMPORT_STATE_ACCEPTED, WALLETS)
    began = time.monotonic()
    run = await score.freeze()
    await score.start(run.run_id)
    while run.state not in {events_pb2.RUN_STATE_COMMITTED, events_pb2.RUN_STATE_ABORTED}:
        # Ended after every step, as by a kill: what goes on knows only what was written down.
        with contextlib.suppress(ConnectionResetError):
            await Halting(score, 1).advance(uuid.UUID(run.run_id))
        run = await score.run(run.run_id)
    rewarded_s = time.monotonic() - began
    assert (run.state, run.accounts, run.pool_micro) == (events_pb2.RUN_STATE_COMMITTED, ACCOUNTS, 10**12)
    proof.verify(json.loads((await score.proof("account-77777", run.run_id)).document), run.root_hash)
    print(f"\nimported in {imported_s:.1f} s (+{grown_mib:.0f} MiB), rewarded in {rewarded_s:.1f} s")  # noqa: T201
    assert imported_s < 60
    assert grown_mib < 300
    assert rewarded_s < 30
