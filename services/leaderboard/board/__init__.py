"""The boards: from Redis in logarithmic time where it can, from PostgreSQL where it must."""

from services.leaderboard.board.reads import Board

__all__ = ["Board"]
