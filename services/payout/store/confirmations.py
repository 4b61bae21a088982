"""What owners have to do before a payout goes on."""

from uuid import UUID

from libs.postgres import Connection
from services.payout.model.payouts import Payout
from services.payout.rules.confirmations import Challenge, Method


async def put(connection: Connection, payout: Payout, challenge: Challenge) -> None:
    """Ask for this; what was asked before is void."""
    await connection.execute(
        """
        INSERT INTO confirmations (payout_id, account_ref, method, text, expires_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (payout_id) DO UPDATE
        SET method = excluded.method, text = excluded.text, expires_at = excluded.expires_at
        """,
        payout.payout_id,
        payout.account_ref,
        *challenge,
    )


async def find(connection: Connection, payout_id: UUID) -> Challenge | None:
    """What was asked last."""
    found = await of_payouts(connection, [payout_id])
    return found.get(payout_id)


async def of_payouts(connection: Connection, payout_ids: list[UUID]) -> dict[UUID, Challenge]:
    """The same of many payouts."""
    rows = await connection.fetch(
        "SELECT payout_id, method, text, expires_at FROM confirmations WHERE payout_id = ANY ($1::uuid[])", payout_ids
    )
    return {row["payout_id"]: Challenge(Method(row["method"]), row["text"], row["expires_at"]) for row in rows}
