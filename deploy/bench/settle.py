"""Settles everything that is due three days from now, as distribution's job does, and tells how long it took."""

import argparse
import asyncio
import json
import time
from datetime import timedelta

import uvloop

from libs.clock import MovableClock
from libs.postgres import Postgres
from services.distribution.commands.settling import settle
from services.distribution.settings import Settings

AHEAD = timedelta(days=3)


async def _run(dsn: str, clock: str) -> dict[str, float]:
    settings = Settings.read()
    async with await Postgres.open(dsn, schema="distribution", pool_max=2) as postgres:
        began = time.monotonic()
        async with asyncio.timeout(300):
            shares = await settle(
                postgres,
                MovableClock(clock).now() + AHEAD,
                delay=settings.settlement_delay,
                hold=settings.earnings_hold,
            )
        return {"shares": shares, "seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("clock")
    options = parser.parse_args()
    print(json.dumps(uvloop.run(_run(options.dsn, options.clock))))


if __name__ == "__main__":
    main()
