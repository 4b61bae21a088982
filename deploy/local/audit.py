"""`python -m deploy.local.audit`: asks the running stack whether its books hold, and prints what it says."""

import asyncio
import os
import sys
import uuid

import grpc
from rich.console import Console
from rich.table import Table

from deploy.local.state import open_state
from deploy.local.trouble import Trouble
from protos.distribution.v1 import audit_pb2 as pb
from protos.distribution.v1.audit_pb2_grpc import AuditServiceStub

WAIT_S = 600
CALL_S = 10
POLL_S = 0.1
VIOLATIONS = 20


def find_address() -> str:
    """Where the running stack's distribution answers. Raises Trouble where there is none."""
    record = open_state().read_record()
    if record.get("phase") != "ready":
        raise Trouble("The stack is not up, so there is nothing to audit: `make up` starts it.")
    return str(record["line"]["distribution"])


async def ask(address: str) -> tuple[pb.GetAuditReportResponse, list[pb.Violation]]:
    """Has an audit made; its report and the first rows that break something."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = AuditServiceStub(channel)
        # One that is under way began before this question: it is waited for, and another one asked for.
        while (audit := await _start(stub)).operator_id != _WHO:
            await _ended(stub, audit.audit_id)
        report = await _ended(stub, audit.audit_id)
        request = pb.ListViolationsRequest(audit_id=audit.audit_id, page_size=VIOLATIONS)
        return report, list((await stub.ListViolations(request, timeout=CALL_S)).violations)


_WHO = f"make-audit-{os.getpid()}"


async def _start(stub: AuditServiceStub) -> pb.Audit:
    request = pb.RunAuditRequest(request_id=str(uuid.uuid4()), operator_id=_WHO, reason="make audit")
    return (await stub.RunAudit(request, timeout=CALL_S)).audit


async def _ended(stub: AuditServiceStub, audit_id: str) -> pb.GetAuditReportResponse:
    async with asyncio.timeout(WAIT_S):
        while True:
            report = await stub.GetAuditReport(pb.GetAuditReportRequest(audit_id=audit_id), timeout=CALL_S)
            if report.audit.state != pb.AUDIT_STATE_RUNNING:
                return report
            await asyncio.sleep(POLL_S)


def show(report: pb.GetAuditReportResponse, violations: list[pb.Violation], console: Console) -> bool:
    """Prints it all; true when every invariant holds."""
    table = Table(title=f"Audit of {report.audit.rows:,} journal rows")
    table.add_column("")
    table.add_column("invariant", no_wrap=True)
    table.add_column("what must hold")
    table.add_column("rows that break it", justify="right")
    for each in report.results:
        style = None if each.holds else "bold red"
        table.add_row("✓" if each.holds else "✗", each.invariant, each.description, f"{each.violations:,}", style=style)
    console.print(table)
    for row in violations:
        told = f"{row.invariant}: {row.table} {row.row_key} should be {row.expected}, is {row.found}"
        console.print(told, style="bold red", markup=False, highlight=False)
    if report.audit.state == pb.AUDIT_STATE_FAILED:
        console.print("The audit broke off: see distribution's log.", style="bold red")
    return report.audit.state == pb.AUDIT_STATE_PASSED


def main() -> int:
    """0 when every invariant holds, 1 when one does not, or when nobody could be asked."""
    try:
        report, violations = asyncio.run(ask(find_address()))
    except Trouble as trouble:
        sys.stderr.write(f"{trouble}\n")
        return 1
    except (grpc.RpcError, TimeoutError) as error:
        sys.stderr.write(f"distribution did not answer ({type(error).__name__}): look at `make down`, `make up`.\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if show(report, violations, Console()) else 1


if __name__ == "__main__":
    sys.exit(main())
