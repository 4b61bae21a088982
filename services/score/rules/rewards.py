"""Who counts, what everybody gets, and the tree that proves it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from libs.money import largest_remainder
from libs.refusals import NotFound
from services.score.model.runs import Inclusion, Participant, Reward, Standing, Terms
from services.score.rules.proof import Node, Step, leaf_node, parent_node, root_hash

SALT_BYTES: Final = 16


class NotRewarded(NotFound):
    """The account has no reward in this run; ExplainReward says why."""


class Tree(NamedTuple):
    """All nodes, level 0 being the leaves; the last level has one."""

    levels: list[list[Node]]

    @property
    def top(self) -> Node:
        """The node above all."""
        return self.levels[-1][0]


def wallet_outcome(score: int | None, terms: Terms) -> Inclusion:
    """Whether a wallet counts. Each by itself: what is split over wallets below the minimum is lost."""
    if score is None:
        return Inclusion.NO_SCORE
    return Inclusion.INCLUDED if score >= max(terms.wallet_minimum, 1) else Inclusion.WALLET_BELOW_MINIMUM


def account_standing(wallets: Iterable[tuple[int, Inclusion]], terms: Terms) -> Standing:
    """Whether an account counts, by its wallets that do."""
    found = list(wallets)
    score = sum(score for score, outcome in found if outcome is Inclusion.INCLUDED)
    if score:
        enough = score >= terms.account_minimum
        return Standing(score, Inclusion.INCLUDED if enough else Inclusion.ACCOUNT_BELOW_MINIMUM)
    if not found:
        return Standing(0, Inclusion.NO_WALLET)
    below = any(outcome is Inclusion.WALLET_BELOW_MINIMUM for _, outcome in found)
    return Standing(0, Inclusion.WALLET_BELOW_MINIMUM if below else Inclusion.NO_SCORE)


def divide(pool_micro: int, participants: Sequence[Participant]) -> dict[UUID, int]:
    """Everybody's part by largest remainder: they sum to the pool exactly (money rule 14)."""
    parts = largest_remainder(pool_micro, {str(each.account_ref): each.score for each in participants})
    return {each.account_ref: parts[str(each.account_ref)] for each in participants}


def rewards(
    pool_micro: int, participants: Sequence[Participant], draw_salt: Callable[[], bytes]
) -> tuple[list[Reward], Tree]:
    """What everybody gets, in the order of the tree. That order is of the salted hashes, so a place tells nothing."""
    parts = divide(pool_micro, participants)
    drawn: list[tuple[Node, Participant, bytes]] = []
    for each in participants:
        salt = draw_salt()
        drawn.append((leaf_node(salt, each.account_ref, each.score, parts[each.account_ref]), each, salt))
    drawn.sort(key=lambda leaf: leaf[0].hash)
    rows = [
        Reward(each.account_ref, each.score, node.sum_micro, salt, place)
        for place, (node, each, salt) in enumerate(drawn)
    ]
    return rows, grow([node for node, _, _ in drawn])


def grow(leaves: list[Node]) -> Tree:
    """The tree over at least one leaf. A node without a sibling is carried up as it is."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [parent_node(below[place], below[place + 1]) for place in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(below) & ~1 :])
    return Tree(levels)


def published_hash(run_id: UUID, tree: Tree) -> bytes:
    """The root that is published."""
    return root_hash(run_id, len(tree.levels[0]), tree.top)


def siblings(leaf: int, leaves: int) -> list[tuple[int, int]]:
    """Level and position of the nodes that a leaf's proof needs."""
    places, place, width, level = [], leaf, leaves, 0
    while width > 1:
        if place ^ 1 < width:
            places.append((level, place ^ 1))
        place, width, level = place // 2, (width + 1) // 2, level + 1
    return places


def path(leaf: int, leaves: int, nodes: dict[tuple[int, int], Node]) -> list[Step]:
    """The steps from a leaf to the top."""
    return [Step(nodes[place], left=place[1] % 2 == 0) for place in siblings(leaf, leaves)]


def grant_id(run_id: UUID, account_ref: UUID) -> str:
    """The id of an account's grant: the same whenever it is asked for."""
    return str(uuid5(run_id, str(account_ref)))
