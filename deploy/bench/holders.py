"""A holder of scores for each account: told as one line of JSON.

Wallets are written down as if they had been linked, a file of scores is sent as operators send it, and when the week is
over the score service itself funds, freezes and commits its run; the time is from when the clock moved to the commit.
"""

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import asyncpg
import grpc
import psutil

from libs.clock import MovableClock
from libs.periods import week_of
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2
from protos.distribution.v1.campaigns_pb2_grpc import CampaignsServiceStub
from protos.score.v1 import admin_pb2, events_pb2
from protos.score.v1.admin_pb2_grpc import ScoreAdminServiceStub

_ASKED = {"operator_id": "bench", "reason": "bench"}
_PIECE = 2**18
_WEEK = timedelta(days=8)
_WAIT_S = 600


def _file(wallets: int) -> bytes:
    return b"address,score\n" + b"".join(b"0x%040x,%d.%06d\n" % (each, each, each % 10**6) for each in range(wallets))


async def _link(dsn: str, accounts: int, at: object) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "score"})
    refs = [uuid.uuid4() for _ in range(accounts)]
    await connection.copy_records_to_table(
        "accounts",
        records=[(f"holder-{number}", ref) for number, ref in enumerate(refs)],
        columns=("account_id", "account_ref"),
    )
    await connection.copy_records_to_table(
        "wallets",
        records=[
            (uuid.uuid4(), (number + 1).to_bytes(20), ref, 1, 1, bytes(16), at, 1) for number, ref in enumerate(refs)
        ],
        columns=("wallet_ref", "address", "account_ref", "chain_id", "state", "nonce", "linked_at", "revision"),
    )
    await connection.close()


async def _open_campaign(distribution: str) -> None:
    async with grpc.aio.insecure_channel(distribution) as channel:
        stub = CampaignsServiceStub(channel)
        create = campaigns_pb2.CreateCampaignRequest(
            request_id="bench-score", name="bench", type=campaigns_pb2.CAMPAIGN_TYPE_SCORE_WEIGHTED,
            operator_id="bench", reason="bench",
        )  # fmt: skip
        campaign_id = (await stub.CreateCampaign(create)).campaign.campaign_id
        await stub.ActivateCampaign(
            campaigns_pb2.ActivateCampaignRequest(request_id="bench-score", campaign_id=campaign_id, **_ASKED)
        )


async def _import(admin: ScoreAdminServiceStub, wallets: int, clock: MovableClock) -> float:
    file, now = _file(wallets), clock.now()
    header = admin_pb2.ImportHeader(
        request_id="bench",
        period=week_of(now.date()).name,
        format=admin_pb2.SCORE_FORMAT_CSV,
        decimals=6,
        taken_at=to_timestamp(now),
        source="bench",
        operator_id="bench",
        reason="bench",
    )

    def parts() -> Iterator[admin_pb2.ImportScoresRequest]:
        yield admin_pb2.ImportScoresRequest(header=header)
        for start in range(0, len(file), _PIECE):
            yield admin_pb2.ImportScoresRequest(chunk=file[start : start + _PIECE])

    began = time.monotonic()
    taken = (await admin.ImportScores(parts(), timeout=_WAIT_S)).score_import
    if taken.state != admin_pb2.IMPORT_STATE_ACCEPTED or taken.wallets != wallets:
        raise RuntimeError(f"the import ended in state {taken.state} with {taken.wallets} wallets")
    return time.monotonic() - began


async def _reward(admin: ScoreAdminServiceStub, accounts: int, clock: MovableClock) -> float:
    began = time.monotonic()
    clock.advance(_WEEK)
    async with asyncio.timeout(_WAIT_S):
        while True:
            runs = (await admin.ListRuns(admin_pb2.ListRunsRequest())).runs
            if any(run.state == events_pb2.RUN_STATE_COMMITTED and run.accounts == accounts for run in runs):
                return time.monotonic() - began
            if any(run.state == events_pb2.RUN_STATE_ABORTED for run in runs):
                raise RuntimeError(f"a run was aborted: {[run.reason for run in runs]}")
            await asyncio.sleep(0.1)


async def _run(options: argparse.Namespace) -> dict[str, float]:
    clock = MovableClock(options.clock)
    await _open_campaign(options.distribution)
    await _link(options.dsn, options.accounts, clock.now())
    process = psutil.Process(options.pid)
    before = process.memory_info().rss
    async with grpc.aio.insecure_channel(options.score) as channel:
        admin: ScoreAdminServiceStub = ScoreAdminServiceStub(channel)
        async with asyncio.TaskGroup() as tasks:
            importing = tasks.create_task(_import(admin, options.wallets, clock))
            peak = tasks.create_task(_peak(process, importing))
        imported, grown = importing.result(), (peak.result() - before) / 2**20
        rewarded = await _reward(admin, options.accounts, clock)
    return {"import_seconds": imported, "import_mib": grown, "run_seconds": rewarded}


async def _peak(process: psutil.Process, until: asyncio.Task[float]) -> int:
    """The most that a process had resident while something was under way, in bytes."""
    most = 0
    while not until.done():
        most = max(most, process.memory_info().rss)
        await asyncio.wait((until,), timeout=0.05)
    return most


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("score", "distribution", "dsn", "clock"):
        parser.add_argument(name)
    parser.add_argument("pid", type=int)
    parser.add_argument("wallets", type=int)
    parser.add_argument("accounts", type=int)
    print(json.dumps(asyncio.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
