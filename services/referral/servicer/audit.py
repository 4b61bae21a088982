"""The audit log's part of creator.referral.v1.ReferralAdminService."""

from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from services.referral.model.audit import AuditRow
from services.referral.rules import audit as rules
from services.referral.rules import operators
from services.referral.rules.accounts import check_account_ref
from services.referral.store import audit as store


class AuditLog:
    """Mixed into the admin's servicer."""

    _postgres: Postgres

    async def ListAuditLog(self, request: pb.ListAuditLogRequest, context: Context) -> pb.ListAuditLogResponse:
        size, below = rules.check_page(request.page_size, request.page_token)
        account_ref = check_account_ref(request.account_ref) if request.account_ref else None
        operator_id = operators.check_actor(request.operator_id) if request.operator_id else None
        async with self._postgres.connection() as connection:
            rows = await store.page(
                connection, account_ref=account_ref, operator_id=operator_id, below=below, limit=size + 1
            )
        token = str(rows[size - 1].sequence) if len(rows) > size else ""
        return pb.ListAuditLogResponse(rows=[_write(row) for row in rows[:size]], next_page_token=token)


def _write(row: AuditRow) -> pb.AuditRow:
    return pb.AuditRow(
        sequence=row.sequence,
        act=row.act.act,
        subject=row.act.subject,
        operator_id=row.act.operator_id,
        reason=row.act.reason,
        acted_at=to_timestamp(row.act.acted_at),
        hash=row.hash,
    )
