"""Revenue rules."""

from libs.money import Rates
from libs.postgres import Connection
from services.distribution.model import Rule


async def load(connection: Connection) -> tuple[int, tuple[Rule, ...]]:
    """All rules that are or were in force, in order of `active_from`, and the revision they stand at."""
    rows = await connection.fetch(
        """
        SELECT rules.*, revision FROM rules_revision CROSS JOIN rules ORDER BY active_from
        """
    )
    return rows[0]["revision"], tuple(
        Rule(
            rule_version=row["rule_version"],
            rates=Rates(row["referrer_bps"], row["commons_bps"], row["community_bps"], row["foundation_bps"]),
            margin_floor_bps=row["margin_floor_bps"],
            active_from=row["active_from"],
        )
        for row in rows
    )
