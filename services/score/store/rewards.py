"""What everybody got, and the trees that prove it."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Record

from libs.postgres import Connection
from services.score.model.runs import Reward
from services.score.rules.proof import Node
from services.score.rules.rewards import Tree


async def insert(connection: Connection, run_id: UUID, rewards: Sequence[Reward], tree: Tree) -> None:
    """Keeps all rewards and all nodes of a run."""
    await connection.copy_records_to_table(
        "run_rewards",
        records=[(run_id, *each) for each in rewards],
        columns=("run_id", "account_ref", "score", "reward_micro", "salt", "leaf"),
    )
    await connection.copy_records_to_table(
        "run_nodes",
        records=[
            (run_id, level, position, node.hash, node.sum_micro)
            for level, nodes in enumerate(tree.levels)
            for position, node in enumerate(nodes)
        ],
        columns=("run_id", "level", "position", "hash", "sum_micro"),
    )


async def by_leaf(connection: Connection, run_id: UUID, start: int, limit: int) -> list[Reward]:
    """Rewards in the order of the tree."""
    rows = await connection.fetch(
        "SELECT * FROM run_rewards WHERE run_id = $1 AND leaf >= $2 ORDER BY leaf LIMIT $3", run_id, start, limit
    )
    return [_reward(row) for row in rows]


async def count_paid(connection: Connection, run_id: UUID) -> int:
    """Rewards of at least one micro: those that are granted."""
    count: int = await connection.fetchval(
        "SELECT count(*) FROM run_rewards WHERE run_id = $1 AND reward_micro > 0", run_id
    )
    return count


async def find(connection: Connection, run_id: UUID, account_ref: UUID) -> Reward | None:
    """An account's reward."""
    row = await connection.fetchrow(
        "SELECT * FROM run_rewards WHERE run_id = $1 AND account_ref = $2", run_id, account_ref
    )
    return _reward(row) if row else None


async def largest(connection: Connection, run_id: UUID, after: tuple[int, UUID] | None, limit: int) -> list[Reward]:
    """Rewards, largest first."""
    reward_micro, account_ref = after or (2**63 - 1, UUID(int=0))
    rows = await connection.fetch(
        """
        SELECT * FROM run_rewards
        WHERE run_id = $1 AND (reward_micro < $2 OR (reward_micro = $2 AND account_ref > $3))
        ORDER BY reward_micro DESC, account_ref LIMIT $4
        """,
        run_id,
        reward_micro,
        account_ref,
        limit,
    )
    return [_reward(row) for row in rows]


async def history(
    connection: Connection, account_ref: UUID, below: UUID | None, limit: int
) -> list[tuple[UUID, Reward]]:
    """An account's rewards of committed runs, newest first, each with its run."""
    rows = await connection.fetch(
        """
        SELECT run_rewards.* FROM run_rewards JOIN runs USING (run_id)
        WHERE account_ref = $1 AND state = 4 AND ($2::uuid IS NULL OR run_id < $2)
        ORDER BY run_id DESC LIMIT $3
        """,
        account_ref,
        below,
        limit,
    )
    return [(row["run_id"], _reward(row)) for row in rows]


async def nodes(connection: Connection, run_id: UUID, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Node]:
    """Nodes of a run's tree, by level and position."""
    rows = await connection.fetch(
        """
        SELECT level, position, hash, sum_micro FROM run_nodes
        JOIN unnest($2::smallint[], $3::integer[]) AS wanted (level, position) USING (level, position)
        WHERE run_id = $1
        """,
        run_id,
        [level for level, _ in places],
        [position for _, position in places],
    )
    return {(row["level"], row["position"]): Node(row["hash"], row["sum_micro"]) for row in rows}


def _reward(row: Record) -> Reward:
    return Reward(row["account_ref"], int(row["score"]), row["reward_micro"], row["salt"], row["leaf"])
