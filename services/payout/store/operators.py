"""What operators decided: approvals and proposals."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from libs.postgres import Connection
from services.payout.model import Order
from services.payout.model.payouts import Payout
from services.payout.model.proposals import Approval, Proposal, ProposalKind, ProposalState

_PROPOSAL: Final = """
    proposal_id, payout_id, kind, state, proof, sent_micro, fee_micro, proposed_by, reason, proposed_at, decided_by,
    decided_at
    """


async def approve(connection: Connection, payout: Payout, order: Order, now: datetime) -> None:
    """Write an approval down."""
    await connection.execute(
        "INSERT INTO approvals (payout_id, round, operator_id, reason, approved_at) VALUES ($1, $2, $3, $4, $5)",
        payout.payout_id,
        payout.round,
        *order,
        now,
    )


async def approvals(connection: Connection, payout_ids: list[UUID]) -> dict[UUID, list[Approval]]:
    """Approvals of payouts, oldest first."""
    rows = await connection.fetch(
        """
        SELECT payout_id, operator_id, reason, approved_at FROM approvals
        WHERE payout_id = ANY ($1::uuid[]) ORDER BY approved_at
        """,
        payout_ids,
    )
    found: dict[UUID, list[Approval]] = {payout_id: [] for payout_id in payout_ids}
    for row in rows:
        found[row["payout_id"]].append(Approval(*row))
    return found


async def propose(connection: Connection, proposal: Proposal) -> None:
    """Write a proposal down."""
    await connection.execute(
        """
        INSERT INTO proposals (
            proposal_id, payout_id, kind, state, proof, sent_micro, fee_micro, proposed_by, reason, proposed_at
        ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        proposal.proposal_id,
        proposal.payout_id,
        proposal.kind,
        proposal.state,
        proposal.proof,
        proposal.sent_micro,
        proposal.fee_micro,
        proposal.proposed_by,
        proposal.reason,
        proposal.proposed_at,
    )


async def decide(
    connection: Connection, proposal: Proposal, state: ProposalState, order: Order, now: datetime
) -> Proposal:
    """Agree to a proposal or drop it."""
    return await _update(
        connection,
        "state = $2, decided_by = $3, decision_reason = $4, decided_at = $5",
        proposal.proposal_id,
        state,
        *order,
        now,
    )


async def record(
    connection: Connection, proposal: Proposal, proof: str, sent: tuple[int, int], order: Order, now: datetime
) -> Proposal:
    """Keep where the proof of a payout by hand is, and what was sent and kept by the network."""
    return await _update(
        connection,
        """
        state = 3, proof = $2, sent_micro = $3, fee_micro = $4, recorded_by = $5, recorded_reason = $6,
        recorded_at = $7
        """,
        proposal.proposal_id,
        proof,
        *sent,
        *order,
        now,
    )


async def lock_proposal(connection: Connection, proposal_id: UUID) -> Proposal | None:
    """A proposal that is this transaction's until its end; its payout is locked before it."""
    found = await _fetch(connection, "proposal_id = $1 FOR UPDATE", proposal_id)
    return found[0] if found else None


async def find_proposal(connection: Connection, proposal_id: UUID) -> Proposal | None:
    """A proposal as it is."""
    found = await _fetch(connection, "proposal_id = $1", proposal_id)
    return found[0] if found else None


async def proposals_of(connection: Connection, payout_id: UUID) -> list[Proposal]:
    """Proposals about a payout, oldest first."""
    return await _fetch(connection, "payout_id = $1 ORDER BY proposal_id", payout_id)


async def page(connection: Connection, state: ProposalState | None, before: UUID | None, limit: int) -> list[Proposal]:
    """Proposals, newest first."""
    return await _fetch(
        connection,
        """
        ($1::smallint IS NULL OR state = $1) AND ($2::uuid IS NULL OR proposal_id < $2)
        ORDER BY proposal_id DESC LIMIT $3
        """,
        state,
        before,
        limit,
    )


async def write_off(connection: Connection, payout_id: UUID, proposal_id: UUID, now: datetime) -> None:
    """Close a payout's live attempt because two operators say that it was not sent and never will be."""
    await connection.execute(
        """
        UPDATE payout_submissions SET state = 8, proposal_id = $2, closed_at = $3
        WHERE payout_id = $1 AND state IN (1, 2, 3)
        """,
        payout_id,
        proposal_id,
        now,
    )


async def finish(connection: Connection, payout_id: UUID, now: datetime) -> None:
    """Close a payout's verified attempt because two operators say that it was sent."""
    await connection.execute(
        "UPDATE payout_submissions SET state = 4, closed_at = $2 WHERE payout_id = $1 AND state = 3", payout_id, now
    )


async def has_live_attempt(connection: Connection, payout_id: UUID) -> bool:
    """Whether the provider has a payout, or may have it."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM payout_submissions WHERE payout_id = $1 AND state IN (1, 2, 3, 4))", payout_id
    )
    return found


async def has_verified_attempt(connection: Connection, payout_id: UUID) -> bool:
    """Whether the provider may have sent a payout."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM payout_submissions WHERE payout_id = $1 AND state = 3)", payout_id
    )
    return found


async def is_proof_of_another(connection: Connection, payout_id: UUID, proof: str) -> bool:
    """Whether another payout was sent by what this names; hashes are told in capitals and without."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM payouts WHERE lower(transaction_hash) = lower($2) AND transaction_hash <> '' AND payout_id <> $1
            UNION ALL
            SELECT FROM payout_submissions
            WHERE lower(transaction_hash) = lower($2) AND transaction_hash <> '' AND payout_id <> $1
        )
        """,
        payout_id,
        proof,
    )
    return found


async def _update(connection: Connection, changes: str, *arguments: Any) -> Proposal:
    (row,) = await connection.fetch(
        f"UPDATE proposals SET {changes} WHERE proposal_id = $1 RETURNING {_PROPOSAL}",  # noqa: S608 - constants
        *arguments,
    )
    return _proposal(row)


async def _fetch(connection: Connection, where: str, *arguments: Any) -> list[Proposal]:
    rows = await connection.fetch(f"SELECT {_PROPOSAL} FROM proposals WHERE {where}", *arguments)  # noqa: S608
    return [_proposal(row) for row in rows]


def _proposal(row: asyncpg.Record) -> Proposal:
    fields = dict(row)
    return Proposal(**fields | {"kind": ProposalKind(fields["kind"]), "state": ProposalState(fields["state"])})
