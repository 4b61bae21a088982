"""What charges are decided by."""

from libs.money import Rates
from libs.postgres import Connection
from services.distribution.model import Interval, Rule, Terms
from services.distribution.store import margins


async def load(connection: Connection) -> tuple[int, Terms]:
    """All rules that are or were in force, all suspensions of tiers, and a revision that they do not fall behind.

    What changes between the two statements is newer than the revision: then the next group is refused, and both are
    read again.
    """
    rows = await connection.fetch(
        """
        SELECT rules.*, revision FROM rules_revision CROSS JOIN rules ORDER BY active_from
        """
    )
    rules = tuple(
        Rule(
            rule_version=row["rule_version"],
            rates=Rates(row["referrer_bps"], row["commons_bps"], row["community_bps"], row["foundation_bps"]),
            margin_floor_bps=row["margin_floor_bps"],
            active_from=row["active_from"],
        )
        for row in rows
    )
    suspensions: dict[str, list[Interval]] = {}
    for each in await margins.suspensions(connection):
        suspensions.setdefault(each.model_tier, []).append(Interval(each.from_time, each.to_time))
    return rows[0]["revision"], Terms(rules, suspensions)
