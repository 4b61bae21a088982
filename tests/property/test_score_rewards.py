"""Rewards: nothing lost, nothing minted, nobody gains by splitting, and every proof holds only as it is."""

import copy
import json
import subprocess
import sys
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.score.model.runs import Inclusion, Participant, Reward, Run, RunState, Terms
from services.score.rules import proof, rewards
from services.score.servicer.rewards import _document

SCORES = st.integers(min_value=1, max_value=10**30)
POOLS = st.integers(min_value=0, max_value=10**15)
RUN = uuid.UUID(int=7)


def people(scores: list[int]) -> list[Participant]:
    return [Participant(uuid.UUID(int=number + 1), score) for number, score in enumerate(scores)]


def salts() -> Any:
    numbers = count()
    return lambda: next(numbers).to_bytes(16)


def documents(pool_micro: int, scores: list[int]) -> tuple[list[dict[str, Any]], bytes, list[Reward]]:
    """The proof of everybody, and the root."""
    rows, tree = rewards.rewards(pool_micro, people(scores), salts())
    root = rewards.published_hash(RUN, tree)
    run = Run(
        RUN, "2026-11", RunState.COMMITTED, Terms(1, 1, 1), RUN, len(rows), sum(scores), True, True, pool_micro,
        len(rows), root, "", "", "", None, None,  # type: ignore[arg-type]
    )  # fmt: skip
    nodes = {(level, place): node for level, below in enumerate(tree.levels) for place, node in enumerate(below)}
    made = [_document(run, row, rewards.path(row.leaf, len(rows), nodes)) for row in rows]
    return [json.loads(text) for text in made], root, rows


@given(POOLS, st.lists(SCORES, min_size=1, max_size=40))
def test_the_parts_sum_to_the_pool_and_nobody_is_more_than_a_micro_off(pool_micro: int, scores: list[int]) -> None:
    parts = rewards.divide(pool_micro, people(scores))
    assert sum(parts.values()) == pool_micro
    for person in people(scores):
        assert abs(parts[person.account_ref] * sum(scores) - pool_micro * person.score) < sum(scores)


@given(st.lists(st.integers(0, 10**30), max_size=12), st.integers(0, 10**30), st.integers(0, 10**30))
def test_splitting_a_holding_over_wallets_gains_nothing(parts: list[int], least: int, enough: int) -> None:
    terms = Terms(1, least, enough)
    split = rewards.account_standing(((score, rewards.wallet_outcome(score, terms)) for score in parts), terms)
    whole = sum(parts)
    together = rewards.account_standing([(whole, rewards.wallet_outcome(whole, terms))], terms)
    assert split.score <= together.score
    assert split.outcome is not Inclusion.INCLUDED or together.outcome is Inclusion.INCLUDED


@given(st.integers(1, 10**9), st.lists(SCORES, min_size=2, max_size=12), st.integers(1, 5))
def test_splitting_over_accounts_gains_at_most_a_micro_each(pool_micro: int, scores: list[int], pieces: int) -> None:
    mine = scores[0]
    cut = [mine // pieces] * (pieces - 1)
    cut.append(mine - sum(cut))
    alone = rewards.divide(pool_micro, people(scores))[uuid.UUID(int=1)]
    many = rewards.divide(pool_micro, people(cut + scores[1:]))
    assert sum(many[uuid.UUID(int=number + 1)] for number in range(pieces)) <= alone + pieces


@given(POOLS, st.lists(SCORES, min_size=1, max_size=33))
def test_every_proof_holds_and_the_root_sums_to_the_pool(pool_micro: int, scores: list[int]) -> None:
    made, root, rows = documents(pool_micro, scores)
    for document, row in zip(made, rows, strict=True):
        proved = proof.verify(document, root)
        assert (proved.account_ref, proved.reward_micro) == (row.account_ref, row.reward_micro)
        assert proved.sum_micro == pool_micro


def leaves_of(part: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(part, dict):
        return [leaf for name in part for leaf in leaves_of(part[name], (*path, name))]
    if isinstance(part, list):
        return [leaf for place, each in enumerate(part) for leaf in leaves_of(each, (*path, place))]
    return [path]


def tampered(text: str) -> list[str]:
    """Other values of the same form, and values of none."""
    if text in ("left", "right"):
        return ["right" if text == "left" else "left", "middle", ""]
    digits = text.replace("-", "")
    last = "1" if digits.endswith("0") else "0"
    return [text[:-1] + last, text + "0", text.upper() + " ", "", "-1", "x"]


@pytest.mark.parametrize("people_count", [1, 2, 3, 5, 8])
def test_tampering_with_any_field_is_found(people_count: int) -> None:
    made, _, _ = documents(1_000_003, list(range(1, people_count + 1)))
    for document in made:
        for path in leaves_of(document):
            others: list[Any] = [*tampered(_at(document, path)), 1, None, [], True]
            for other in others:
                changed = copy.deepcopy(document)
                _set(changed, path, other)
                if changed == document:
                    continue
                with pytest.raises(proof.ProofInvalid):
                    proof.verify(changed)
        for path in leaves_of(document):
            changed = copy.deepcopy(document)
            parent = _at(changed, path[:-1])
            del parent[path[-1]]
            with pytest.raises(proof.ProofInvalid):
                proof.verify(changed)
        with pytest.raises(proof.ProofInvalid):
            proof.verify(document | {"more": "1"})
        with pytest.raises(proof.ProofInvalid):
            proof.verify(document, b"\0" * 32)


def test_a_path_that_is_longer_shorter_or_reordered_is_found() -> None:
    made, _, _ = documents(1_000_003, list(range(1, 9)))
    document = made[0]
    steps = document["path"]
    wrong: list[Any] = [steps[:-1], steps[::-1], steps * 2, steps * 40, {}]
    for path in wrong:
        with pytest.raises(proof.ProofInvalid):
            proof.verify(document | {"path": path})


def test_the_command_needs_nothing_but_python(tmp_path: Path) -> None:
    made, root, rows = documents(100, [1, 2])
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(made[0]))
    command = [sys.executable, "-I", "-S", str(Path(proof.__file__)), str(file), "--root", "0x" + root.hex()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"VALID: account {rows[0].account_ref} with score")
    for broken in ("{}", "[]", "nonsense", "[" * 100_000):
        file.write_text(broken)
        answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith("INVALID: ")
        assert "Traceback" not in answer.stderr


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def _set(document: Any, path: tuple[Any, ...], value: Any) -> None:
    _at(document, path[:-1])[path[-1]] = value
