"""Decisions of leaderboard. All of it follows from the set of events alone, in whatever order they came."""
