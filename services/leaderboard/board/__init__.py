"""The boards: from Redis in logarithmic time where it can, from PostgreSQL where it must."""

from services.leaderboard.board.reads import Board
from services.leaderboard.board.shown import Shown

__all__ = ["Board", "Shown"]
