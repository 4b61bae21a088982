"""What leaderboard counts."""

from prometheus_client import Counter, Histogram

APPLIED = Counter("creator_leaderboard_applied_total", "Facts applied, by kind.", ["kind"])
REFRESH_SECONDS = Histogram("creator_leaderboard_refresh_seconds", "Time to bring a board in Redis up to date.")
FALLBACKS = Counter("creator_leaderboard_fallback_reads_total", "Reads answered from PostgreSQL because Redis did not.")
