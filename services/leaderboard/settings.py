"""What differs between deployments of leaderboard."""

from datetime import timedelta

import environ

from libs.settings import Secret, seconds, whole
from libs.settings import Settings as Base

_KEY_BYTES = range(16, 65)


def _key(value: str) -> Secret:
    if len(value.encode()) not in _KEY_BYTES:
        raise ValueError("must have 16 to 64 bytes")
    return Secret(value)


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """How old a board may be, what pseudonyms are made with, and how often progress is looked at."""

    board_cache_seconds: float = environ.var("60", converter=seconds(0, 3600), help="Age of a board, in real time.")
    pseudonym_key: Secret = environ.var(converter=_key, help="Changing it renames everybody without a name.")
    redis_url: Secret = environ.var("", converter=Secret, help="Without it every read goes to PostgreSQL.")
    catching_up_poll_seconds: float = environ.var("2", converter=seconds(0.01, 600), help="How often `as_of` moves on.")
    breakdown_grace_seconds: int = environ.var(
        "3600",
        converter=whole(0, 86_400),
        help="How long after its end a day is published: what comes later is `other`.",
    )

    @property
    def breakdown_grace(self) -> timedelta:
        """How long after its end a day is published."""
        return timedelta(seconds=self.breakdown_grace_seconds)
