"""What leaderboard counts."""

from prometheus_client import Counter, Gauge, Histogram

APPLIED = Counter("creator_leaderboard_applied_total", "Facts applied, by kind.", ["kind"])
REFRESH_SECONDS = Histogram("creator_leaderboard_refresh_seconds", "Time to bring a board in Redis up to date.")
REFRESHES = Counter(
    "creator_leaderboard_refreshes_total", "Boards brought up to date, by changes or made anew.", ["how"]
)
FALLBACKS = Counter("creator_leaderboard_fallback_reads_total", "Reads answered from PostgreSQL because Redis did not.")
CAUGHT_UP = Gauge(
    "creator_leaderboard_caught_up_timestamp_seconds",
    "Business time by which all that was published is known to be applied.",
)
REBUILDS = Counter("creator_leaderboard_rebuilds_total", "Rebuilds that ended, by how.", ["how"])
REBUILD_SECONDS = Histogram(
    "creator_leaderboard_rebuild_seconds",
    "Time of a rebuild, or of its part under one leader.",
    buckets=(1, 10, 60, 300, 1800, 7200, 43_200),
)
PUBLISHED_DAYS = Counter("creator_leaderboard_published_days_total", "Days whose breakdowns were published.")
