"""creator.distribution.v1.AuditService: what the auditor found."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from protos.distribution.v1 import audit_pb2 as pb
from protos.distribution.v1 import audit_pb2_grpc
from services.distribution.commands import audit as commands
from services.distribution.rules import audit as rules
from services.distribution.store import audit as store

CALLERS: Final = frozenset({"gateway"})
"""Operators, through the gateway."""


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """creator.distribution.v1.AuditService."""

    def __init__(self, postgres: Postgres, clock: Clock) -> None:
        self._postgres = postgres
        self._clock = clock

    async def RunAudit(self, request: pb.RunAuditRequest, context: Context) -> pb.RunAuditResponse:
        rules.check_order(request.operator_id, request.reason)
        return await commands.ask(self._postgres, self._clock, request)

    async def GetAuditReport(self, request: pb.GetAuditReportRequest, context: Context) -> pb.GetAuditReportResponse:
        wanted = rules.check_id(request.audit_id) if request.audit_id else None
        async with self._postgres.transaction(readonly=True) as connection:
            found = await (store.find(connection, wanted) if wanted else store.find_latest(connection))
            if found is None:
                raise rules.AuditUnknown
            results = await store.results(connection, found.audit_id)
        return pb.GetAuditReportResponse(
            audit=commands.write_audit(found),
            results=[
                pb.InvariantResult(
                    invariant=each.invariant,
                    holds=not each.violations,
                    violations=each.violations,
                    description=each.description,
                )
                for each in results
            ],
        )

    async def ListAudits(self, request: pb.ListAuditsRequest, context: Context) -> pb.ListAuditsResponse:
        size, before = rules.check_page(request.page_size), rules.check_after_id(request.page_token)
        async with self._postgres.connection() as connection:
            page = await store.page(connection, before, size + 1)
        return pb.ListAuditsResponse(
            audits=[commands.write_audit(each) for each in page[:size]],
            next_page_token=page[size - 1].audit_id if len(page) > size else "",
        )

    async def ListViolations(self, request: pb.ListViolationsRequest, context: Context) -> pb.ListViolationsResponse:
        audit_id, invariant = rules.check_id(request.audit_id), rules.check_invariant(request.invariant)
        size, after = rules.check_page(request.page_size), rules.check_after_number(request.page_token)
        async with self._postgres.transaction(readonly=True) as connection:
            if await store.find(connection, audit_id) is None:
                raise rules.AuditUnknown
            page = await store.violations(connection, audit_id, invariant, after, size + 1)
        return pb.ListViolationsResponse(
            violations=[
                pb.Violation(
                    invariant=each.invariant,
                    table=each.table,
                    row_key=each.row_key,
                    expected=each.expected,
                    found=each.found,
                )
                for _, each in page[:size]
            ],
            next_page_token=str(page[size - 1][0]) if len(page) > size else "",
        )
