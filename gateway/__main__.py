"""`python -m gateway`."""

import asyncio
import signal
import sys

import uvloop

from gateway.application import Gateway
from gateway.settings import Settings
from libs import memory, telemetry
from libs.settings import Misconfigured

log = telemetry.logger(__name__)


async def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being answered."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = Gateway(settings)
    try:
        await gateway.open()
        memory.settle()
        log.info("ready", port=gateway.port)
        await stop.wait()
        log.info("draining")
        await gateway.drain()
    finally:
        await gateway.close()


def run() -> None:
    """Exit code 0 after a drain; a wrong setting is told in one sentence on standard error."""
    settings = Settings.read()
    telemetry.configure_logs("gateway", settings.log_level)
    if settings.test_mode:
        log.warning("test mode", environment=settings.environment)
    try:
        metrics = telemetry.serve_metrics(settings.metrics_listen)
    except OSError as error:
        raise Misconfigured(f"METRICS_LISTEN {settings.metrics_listen} is not free: {error.strerror}.") from None
    telemetry.start_tracing("gateway", settings.otel_exporter_otlp_endpoint)
    try:
        uvloop.run(main(settings))
    finally:
        telemetry.stop_tracing()
        metrics.close()
    log.info("stopped")


if __name__ == "__main__":
    run()
    sys.exit(0)
