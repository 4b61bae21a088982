"""What an account asked for lately, and leave to ask again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.postgres import Connection
from services.payout.model import Order, Stage
from services.payout.rules.approvals import VERIFIED_BY

ENDED_BADLY = sorted((Stage.FAILED, Stage.CANCELLED, Stage.DECLINED))


@dataclass(frozen=True, slots=True)
class SoFar:
    """When an account last asked, and what was paid to it or is on its way since its last verified payout."""

    last_requested_at: datetime | None
    cumulative_micro: int


SO_FAR: Final = """
    (
        SELECT max(requested_at) FROM payouts
        WHERE account_ref = me.account_ref AND stage NOT IN (12, 13) AND NOT (stage = 11 AND round = 1 AND NOT held)
    ), (
        SELECT coalesce(sum(amount_micro), 0)::bigint FROM payouts
        WHERE account_ref = me.account_ref AND stage <> ALL ($2::smallint[]) AND requested_at > coalesce(
            (
                SELECT max(requested_at) FROM payouts
                WHERE account_ref = me.account_ref AND stage <> ALL ($2::smallint[])
                    AND confirmed_at IS NOT NULL AND approved_at IS NOT NULL AND approval_reasons && $3
            ),
            '-infinity'
        )
    )
    """
"""The columns of SoFar, of the account of a row `me`; $2 and $3 are ENDED_BADLY and VERIFIED_BY, as lists."""


async def so_far(connection: Connection, account_ref: UUID) -> SoFar:
    """What an account asked for; what was refused or cancelled does not count."""
    (row,) = await connection.fetch(
        f"SELECT {SO_FAR} FROM (SELECT $1::uuid AS account_ref) AS me",  # noqa: S608 - constant
        account_ref,
        ENDED_BADLY,
        list(VERIFIED_BY),
    )
    return SoFar(*row)


@dataclass(frozen=True, slots=True)
class Permission:
    """An operator's leave to ask again within 24 hours."""

    permission_id: UUID
    account_ref: UUID
    expires_at: datetime


async def permit(connection: Connection, permission: Permission, order: Order, now: datetime) -> None:
    """Write a permission down."""
    await connection.execute(
        """
        INSERT INTO early_requests (permission_id, account_ref, operator_id, reason, granted_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        permission.permission_id,
        permission.account_ref,
        *order,
        now,
        permission.expires_at,
    )


async def use_permission(connection: Connection, account_ref: UUID, payout_id: UUID, now: datetime) -> bool:
    """Use the permission that ends first for a payout; False where there is none."""
    used: str = await connection.execute(
        """
        UPDATE early_requests SET used_by = $2 WHERE permission_id = (
            SELECT permission_id FROM early_requests
            WHERE account_ref = $1 AND used_by IS NULL AND expires_at > $3
            ORDER BY expires_at LIMIT 1 FOR UPDATE
        )
        """,
        account_ref,
        payout_id,
        now,
    )
    return used.endswith("1")
