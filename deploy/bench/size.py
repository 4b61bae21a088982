"""How much is measured: everything in full, a quick look, or just enough to see that the bench itself works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of one size; seconds and counts."""

    name: str
    rounds: int
    seconds: float
    warm_seconds: float
    payers: int
    ingested: int
    """Charges that the broker has when distribution begins to read them."""
    stored: int
    """Distributions stored before everything is measured again."""
    due: int
    """Earnings that settle at once."""
    wallets: int
    """Lines of a file of scores."""
    holders: int
    """Accounts that a score run rewards."""
    referrals: int
    """On the leaderboard; nine charges to each."""
    door_seconds: int
    """Requests by REST of each kind, a hundred a second."""
    orders: tuple[str, ...] = ("time-ordered", "random")
    """Of ids: what is measured again with a full journal."""
    hasty: bool = False
    """Without fsync: what is measured then says nothing of speed."""


SIZES = {
    size.name: size
    for size in (
        Size("smallest", 1, 0.2, 0.1, 20, 2_000, 2_000, 400, 500, 100, 500, 1, (), hasty=True),
        Size("small", 3, 2, 0.5, 400, 20_000, 100_000, 20_000, 50_000, 5_000, 10_000, 5),
        Size("full", 3, 6, 1, 1_000, 100_000, 5_000_000, 1_000_000, 1_000_000, 100_000, 100_000, 20),
    )
}
