"""Verifies a reward proof offline, with nothing but Python: `python proof.py PROOF.json [--root HEX]`.

The tree is a Merkle-sum tree (SHA-256): every node commits to the sums below it, so that a root says how much was
given in all, and a proof that the leaf's reward is part of exactly that. All numbers are big-endian.

    leaf = H(0x00, salt 16, account_ref 16, score 32, reward_micro 8)                    sum = reward_micro
    node = H(0x01, left hash 32, left sum 8, right hash 32, right sum 8)                 sum = left sum + right sum
    root = H(0x02, run_id 16, number of leaves 8, hash of the top node 32, its sum 8)

A node without a sibling is carried up as it is. The prefixes keep a leaf from passing for a node (RFC 6962, 2.1).
This file is the command and, within the service, the one definition of these hashes.
"""

import argparse
import hashlib
import json
import sys
import uuid
from pathlib import Path
from typing import Any, NamedTuple

_HASH_BYTES = 32
_SALT_BYTES = 16
_MAX_SUM = 2**63 - 1
_DEPTH_MAX = 64


class ProofInvalid(ValueError):
    """Why a proof proves nothing."""


class Node(NamedTuple):
    """A hash, and the micro-USD under it."""

    hash: bytes
    sum_micro: int


class Step(NamedTuple):
    """A sibling on the way up."""

    sibling: Node
    left: bool


def leaf_node(salt: bytes, account_ref: uuid.UUID, score: int, reward_micro: int) -> Node:
    """The leaf of one account."""
    body = salt + account_ref.bytes + score.to_bytes(32) + reward_micro.to_bytes(8)
    return Node(hashlib.sha256(b"\x00" + body).digest(), reward_micro)


def parent_node(left: Node, right: Node) -> Node:
    """The node above two others."""
    body = left.hash + left.sum_micro.to_bytes(8) + right.hash + right.sum_micro.to_bytes(8)
    return Node(hashlib.sha256(b"\x01" + body).digest(), left.sum_micro + right.sum_micro)


def root_hash(run_id: uuid.UUID, leaves: int, top: Node) -> bytes:
    """What is published of a run."""
    body = run_id.bytes + leaves.to_bytes(8) + top.hash + top.sum_micro.to_bytes(8)
    return hashlib.sha256(b"\x02" + body).digest()


def climb(leaf: Node, path: list[Step]) -> Node:
    """The top that a leaf and its siblings lead to; raises ProofInvalid where a sum leaves its bounds."""
    node = leaf
    for step in path:
        if not 0 <= step.sibling.sum_micro <= _MAX_SUM - node.sum_micro:
            raise ProofInvalid("a sum is out of bounds")
        node = parent_node(step.sibling, node) if step.left else parent_node(node, step.sibling)
    return node


class Proof(NamedTuple):
    """A proof as it was read."""

    run_id: uuid.UUID
    account_ref: uuid.UUID
    salt: bytes
    score: int
    reward_micro: int
    path: list[Step]
    leaves: int
    sum_micro: int
    root: bytes

    @property
    def top(self) -> Node:
        """Where its leaf leads."""
        return climb(leaf_node(self.salt, self.account_ref, self.score, self.reward_micro), self.path)


def read(document: dict[str, Any]) -> Proof:
    """Raises ProofInvalid for whatever is no proof."""
    try:
        return _read(document)
    except ProofInvalid:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProofInvalid(f"not a proof: {type(error).__name__}") from None


def verify(document: dict[str, Any], published_root: bytes | None = None) -> Proof:
    """Return what a proof proves, or raise ProofInvalid. Every field of the document takes part in it.

    `published_root` is the hash that everybody can see; without it the proof is only checked against itself.
    """
    proof = read(document)
    try:
        top = proof.top
        made = root_hash(proof.run_id, proof.leaves, top)
    except OverflowError:
        raise ProofInvalid("a number is out of bounds") from None
    if top.sum_micro != proof.sum_micro:
        raise ProofInvalid(f"the leaves sum to {top.sum_micro}, and the root says {proof.sum_micro}")
    if made != proof.root:
        raise ProofInvalid("the leaf is not part of the root")
    if published_root is not None and made != published_root:
        raise ProofInvalid("the root is not the one that was published")
    return proof


def _read(document: dict[str, Any]) -> Proof:
    _check_fields(document, {"version", "run_id", "leaf", "path", "root"})
    leaf, root = document["leaf"], document["root"]
    _check_fields(leaf, {"salt", "account_ref", "score", "reward_micro"})
    _check_fields(root, {"hash", "sum_micro", "leaves"})
    proof = Proof(
        run_id=_uuid(document["run_id"]),
        account_ref=_uuid(leaf["account_ref"]),
        salt=_bytes(leaf["salt"], _SALT_BYTES),
        score=_number(leaf["score"]),
        reward_micro=_number(leaf["reward_micro"]),
        path=[_step(each) for each in document["path"]],
        leaves=_number(root["leaves"]),
        sum_micro=_number(root["sum_micro"]),
        root=_bytes(root["hash"], _HASH_BYTES),
    )
    if document["version"] != "1" or len(proof.path) > _DEPTH_MAX or proof.reward_micro > _MAX_SUM:
        raise ProofInvalid("a version, a path or an amount that this command does not know")
    return proof


def _check_fields(part: dict[str, Any], names: set[str]) -> None:
    if set(part) != names:
        raise ProofInvalid(f"expected exactly the fields {', '.join(sorted(names))}")


def _step(given: dict[str, Any]) -> Step:
    _check_fields(given, {"hash", "sum_micro", "side"})
    if given["side"] not in ("left", "right"):
        raise ProofInvalid("a sibling is on the left or on the right")
    return Step(Node(_bytes(given["hash"], _HASH_BYTES), _number(given["sum_micro"])), given["side"] == "left")


# One value has one spelling, so that no other document says the same.


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or str(int(text)) != text:
        raise ProofInvalid("a number is a decimal string")
    return int(text)


def _bytes(text: str, length: int) -> bytes:
    raw = bytes.fromhex(text)
    if raw.hex() != text or len(raw) != length:
        raise ProofInvalid(f"{length} bytes are spelled in lower case hex")
    return raw


def _uuid(text: str) -> uuid.UUID:
    if str(uuid.UUID(text)) != text:
        raise ProofInvalid("an id is a UUID in lower case")
    return uuid.UUID(text)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 for a valid proof, 1 for any other."""
    parser = argparse.ArgumentParser(description="Verify a reward proof offline.")
    parser.add_argument("proof", type=Path, help="the JSON document")
    parser.add_argument("--root", help="the published root hash, in hex")
    options = parser.parse_args(arguments)
    try:
        document = json.loads(options.proof.read_text(encoding="utf-8"))
        root = bytes.fromhex(options.root.removeprefix("0x")) if options.root else None
        proof = verify(document if isinstance(document, dict) else {}, root)
    except (OSError, ValueError, RecursionError) as error:
        sys.stderr.write(f"INVALID: {error}\n")
        return 1
    sys.stdout.write(
        f"VALID: account {proof.account_ref} with score {proof.score} got {proof.reward_micro} of {proof.sum_micro} "
        f"micro-USD in run {proof.run_id}; root {proof.root.hex()}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
