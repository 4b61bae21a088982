"""Pages of payouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.payout.model import OPEN, Stage, State
from services.payout.model.payouts import Payout
from services.payout.store import payouts


async def of_account(
    connection: Connection, account_ref: UUID, state: State | None, before: UUID | None, limit: int
) -> list[Payout]:
    """An account's payouts, newest first."""
    return await payouts.fetch(
        connection,
        """
        account_ref = $1 AND stage = ANY ($2::smallint[]) AND ($3::uuid IS NULL OR payout_id < $3)
        ORDER BY payout_id DESC LIMIT $4
        """,
        account_ref,
        [stage for stage in Stage if state in {None, stage.state}],
        before,
        limit,
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """Which payouts operators want to see; None and nothing for all. `asked_before`: open ones that are that old."""

    stages: Sequence[Stage]
    account_ref: UUID | None
    asked_before: datetime | None


async def by_change(connection: Connection, wanted: Filter, after: tuple[datetime, UUID], limit: int) -> list[Payout]:
    """Payouts of all accounts, oldest change first, after a place in that order."""
    stages = sorted(OPEN) if wanted.asked_before and not wanted.stages else wanted.stages
    return await payouts.fetch(
        connection,
        """
        (changed_at, payout_id) > ($1, $2) AND (stage = ANY ($3::smallint[]) OR cardinality($3::smallint[]) = 0)
        AND ($4::uuid IS NULL OR account_ref = $4) AND ($5::timestamptz IS NULL OR requested_at < $5)
        ORDER BY changed_at, payout_id LIMIT $6
        """,
        *after,
        list(stages),
        wanted.account_ref,
        wanted.asked_before,
        limit,
    )


async def orphans(connection: Connection, before: datetime, limit: int) -> list[Payout]:
    """Payouts whose money nobody has held since, the oldest first."""
    return await payouts.fetch(connection, "stage = 1 AND changed_at <= $1 ORDER BY changed_at LIMIT $2", before, limit)


async def due(connection: Connection, now: datetime, limit: int, *, enabled: bool) -> list[Payout]:
    """Queued payouts whose turn has come; those by hand when two operators agreed, the others where it is `enabled`."""
    return await payouts.fetch(
        connection,
        """
        stage = 4 AND due_at <= $1 AND CASE WHEN manual
            THEN EXISTS (
                SELECT FROM proposals WHERE proposals.payout_id = payouts.payout_id AND kind = 3 AND proposals.state = 2
            )
            ELSE $2 END
        ORDER BY due_at, payout_id LIMIT $3
        """,
        now,
        enabled,
        limit,
    )


async def open_of(connection: Connection, account_ref: UUID) -> list[Payout]:
    """An account's payouts that are not final."""
    return await payouts.fetch(
        connection, "account_ref = $1 AND stage = ANY ($2::smallint[]) ORDER BY payout_id", account_ref, sorted(OPEN)
    )


async def has_open(connection: Connection, account_ref: UUID) -> bool:
    """Whether a payout of an account is not final, or its money is not settled."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM payouts WHERE account_ref = $1 AND (stage = ANY ($2::smallint[]) OR money <> 4)
        )
        """,
        account_ref,
        sorted(OPEN),
    )
    return found
