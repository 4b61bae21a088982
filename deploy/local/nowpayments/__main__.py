"""`python -m deploy.local.nowpayments`: the simulator that the local stack runs."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from aiohttp import web

from deploy.local.nowpayments import Coin, Merchant, Provider
from deploy.local.nowpayments.merchant import EMAIL, derived
from libs.clock import open_clock

DRAIN_SECONDS = 3.0


def from_environment(environment: Mapping[str, str]) -> Provider:
    """The simulator with its development account, the same each time."""
    api_key = environment.get("NOWPAYMENTS_API_KEY", "")
    if not api_key:
        sys.exit("NOWPAYMENTS_API_KEY must be set.")
    merchant = Merchant(
        api_key=api_key,
        email=environment.get("NOWPAYMENTS_EMAIL") or EMAIL,
        password=environment.get("NOWPAYMENTS_PASSWORD") or derived(api_key, "password"),
        totp_secret=environment.get("NOWPAYMENTS_TOTP_SECRET") or derived(api_key, "totp"),
        ipn_secret=environment.get("NOWPAYMENTS_IPN_SECRET", ""),
        ipn_url=environment.get("NOWPAYMENTS_IPN_URL", ""),
        balance={ticker: Coin(Decimal(100_000)) for ticker in ("usdttrc20", "usdterc20", "usdcmatic", "usdcbase")},
        step=timedelta(seconds=float(environment.get("PROVIDER_STEP_SECONDS", "60"))),
    )
    token_key = hashlib.sha256(f"tokens of {api_key}".encode()).digest()
    return Provider(merchant, open_clock(test_mode=True, path=environment.get("DEV_CLOCK_FILE")), token_key)


async def serve(provider: Provider, host: str, port: int) -> None:
    """Answers until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await stopping.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    host, _, port = os.environ.get("PROVIDER_LISTEN", "127.0.0.1:8035").rpartition(":")
    asyncio.run(serve(from_environment(os.environ), host, int(port)))


if __name__ == "__main__":
    main()
