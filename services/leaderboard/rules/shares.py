"""What charges brought to creators, row by row: the database sums it up, for it does so in a fraction of the time."""

from collections.abc import Mapping, Sequence
from typing import Final

from libs.money import largest_remainder
from services.leaderboard.rules.tally import FactInvalid

_END_US: Final = 253_402_300_800_000_000
"""The end of the year 9999."""


class Shares:
    """A row for each charge, or for each model of an ensemble's charge; instants are microseconds since 1970."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> list[list[str] | list[int]]:
        """Creators, referees, models, how many charges (1 or 0), micro-USD, instants."""
        return [list(column) for column in zip(*self._rows, strict=True)]

    def earn(
        self,
        creator_ref: str,
        referee_ref: str,
        at_us: int,
        share_micro: int,
        model: str,
        parts: Sequence[tuple[str, int]] = (),
    ) -> None:
        """One charge's share; `parts` are the models of an ensemble and what each cost. Raises FactInvalid."""
        if share_micro <= 0:
            raise FactInvalid(f"a share of {share_micro}")
        if not 0 <= at_us < _END_US:
            raise FactInvalid("a time before 1970 or after 9999")
        shares = parts_of(share_micro, parts) if parts else {}
        if not shares:
            self._rows.append((creator_ref, referee_ref, model, 1, share_micro, at_us))
            return
        counted_under = model if model in shares else dearest(shares)
        for name, part_micro in shares.items():
            if part_micro or name == counted_under:
                counted = int(name == counted_under)
                self._rows.append((creator_ref, referee_ref, name, counted, part_micro, at_us))


def parts_of(share_micro: int, parts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """A share divided among the models of an ensemble by what each cost, exactly; empty where nothing says how."""
    weights: dict[str, int] = {}
    for name, amount_micro in parts:
        weights[name] = weights.get(name, 0) + amount_micro
    return largest_remainder(share_micro, weights) if sum(weights.values()) > 0 else {}


def dearest(shares: Mapping[str, int]) -> str:
    """The model that an ensemble's charge is counted under: the one with the largest part, then the greater name."""
    return max(shares, key=lambda name: (shares[name], name))
