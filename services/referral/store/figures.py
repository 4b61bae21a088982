"""What launch figures are made of."""

from collections.abc import Mapping
from datetime import datetime

from libs.postgres import Connection
from services.referral.model.figures import Counted, Revenue


async def add_revenue(connection: Connection, minutes: Mapping[datetime, Revenue]) -> None:
    """Adds what referred accounts paid, in the order of the minutes."""
    rows = sorted(minutes.items())
    await connection.execute(
        """
        INSERT INTO referred_revenue AS known (minute, charges, revenue_micro, provider_cost_micro, referrer_micro)
        SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        ON CONFLICT (minute) DO UPDATE SET
            charges = known.charges + excluded.charges,
            revenue_micro = known.revenue_micro + excluded.revenue_micro,
            provider_cost_micro = known.provider_cost_micro + excluded.provider_cost_micro,
            referrer_micro = known.referrer_micro + excluded.referrer_micro
        """,
        [minute for minute, _ in rows],
        [each.charges for _, each in rows],
        [each.revenue_micro for _, each in rows],
        [each.provider_cost_micro for _, each in rows],
        [each.referrer_micro for _, each in rows],
    )


async def count(connection: Connection, start: datetime, end: datetime) -> Counted:
    """A period's figures; revenue counts from the minute in which the period begins."""
    row = await connection.fetchrow(
        """
        WITH bound AS (
            SELECT count(*) AS registered, count(first_paid_at) AS converted,
                coalesce(sum(amount_micro) FILTER (WHERE state = 'granted'), 0)::bigint AS bonus_cost_micro
            FROM referral_registrations
            LEFT JOIN referee_activity USING (referee_ref)
            LEFT JOIN bonuses USING (referee_ref)
            WHERE referral_registrations.kind = 'referred'
                AND referral_registrations.created_at >= $1 AND referral_registrations.created_at < $2
        ), paid AS (
            SELECT coalesce(sum(revenue_micro), 0)::bigint AS revenue_micro,
                coalesce(sum(provider_cost_micro), 0)::bigint AS provider_cost_micro,
                coalesce(sum(referrer_micro), 0)::bigint AS referrer_micro
            FROM referred_revenue WHERE minute >= date_trunc('minute', $1::timestamptz, 'UTC') AND minute < $2
        )
        SELECT * FROM bound, paid
        """,
        start,
        end,
    )
    return Counted(*row) if row else Counted(0, 0, 0, 0, 0, 0)
