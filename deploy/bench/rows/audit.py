"""The auditor over everything that is stored, while charges go on."""

import asyncio
import threading
import time
from collections.abc import Iterator

from deploy.bench.bench import Bench, Told, middle
from deploy.bench.figure import Figure
from deploy.local import audit
from protos.distribution.v1 import audit_pb2


def measure(bench: Bench) -> Iterator[Figure]:
    """How long it takes, and what it does to Finalize meanwhile."""
    ended = threading.Event()
    reports: list[tuple[float, audit_pb2.GetAuditReportResponse]] = []

    def ask() -> None:
        began = time.monotonic()
        try:
            report, _ = asyncio.run(audit.ask(bench.stage.address))
            reports.append((time.monotonic() - began, report))
        finally:
            ended.set()

    asking = threading.Thread(target=ask)
    asking.start()
    meanwhile: list[Told] = []
    while not ended.is_set():
        meanwhile.append(bench.call("unary"))
    asking.join()
    if not reports:
        raise RuntimeError("the audit did not end")
    seconds, report = reports[0]
    if report.audit.state != audit_pb2.AUDIT_STATE_PASSED:
        broken = [each.invariant for each in report.results if each.violations]
        raise RuntimeError(f"the audit found the books wrong: {', '.join(broken)}")
    yield Figure("audit of the whole journal", seconds, "s", note=f"{report.audit.rows:,} rows, while charges went on")
    rate = middle(meanwhile)
    yield Figure("Finalize during the audit", rate, "charges/s", bench.ratio(rate))
    yield Figure("Finalize during the audit, p99", max(each["p99_ms"] for each in meanwhile), "ms")
