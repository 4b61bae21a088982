"""The style as a test: it reads the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("libs", "services", "gateway", "deploy", "tests")
SOURCES = sorted(
    path for room in ROOMS for path in (ROOT / room).rglob("*.py") if not path.stem.endswith(("_pb2", "_pb2_grpc"))
)
SERVICE_FILES = {
    "__init__", "__main__", "model", "rules", "store", "commands", "servicer", "consumers", "jobs", "settings",
    "metrics",
}  # fmt: skip
OUTSIDE = {
    "leaderboard": {"addresses", "board"},
    "payout": {"accounts", "ledger", "provider", "screening"},
    "score": {"accounts", "contracts"},
    "distribution": {"writer", "attribution"},
}
"""What a service has beside them: its contacts with the outside world, and distribution its group writer."""
BANNED_NAMES = {"common", "utils", "util", "helpers", "helper", "manager", "handler", "data", "info", "misc", "core"}

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[AnyFunction]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: AnyFunction) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_function_fits_the_screen(path: Path) -> None:
    assert [f"{node.name}: {length(node)}" for node in functions(path) if length(node) > 50] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if "tests" not in path.parts], ids=relative)
def test_a_module_is_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "servicer.py"], ids=relative)
def test_a_door_is_thin(path: Path) -> None:
    assert [f"{node.name}: {length(node)}" for node in functions(path) if length(node) > 30] == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_annotations_stay_real(path: Path) -> None:
    assert "from __future__ import annotations" not in path.read_text() or path.name == "test_tidy.py"


def test_a_service_has_the_files_that_every_service_has() -> None:
    strangers = [
        relative(path)
        for path in sorted((ROOT / "services").glob("*/*.py"))
        if path.stem not in SERVICE_FILES | OUTSIDE.get(path.parent.name, set())
        and not path.stem.endswith(("_pb2", "_pb2_grpc"))
    ]
    assert strangers == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [relative(path) for path in SOURCES if path.stem in BANNED_NAMES] == []


def money_sources() -> list[Path]:
    rooms = [ROOT / "libs/money.py", *(ROOT / "services").glob("*/rules.py"), *(ROOT / "services").glob("*/rules/*.py")]
    rooms += [*(ROOT / "services/distribution").rglob("*.py")]
    return sorted({path for path in rooms if path.exists()})


@pytest.mark.parametrize("path", money_sources(), ids=relative)
def test_no_float_comes_near_money(path: Path) -> None:
    """A division or a float call that touches a name with `_micro` or `_bps` in it, or any in libs.money."""
    offences = []
    for node in ast.walk(ast.parse(path.read_text())):
        divides = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        converts = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"float", "round"}
        if (divides or converts) and (path.name == "money.py" or re.search(r"_micro|_bps", ast.unparse(node))):
            offences.append(ast.unparse(node))
    assert offences == []


def test_amounts_in_sql_are_whole_numbers() -> None:
    whole = re.compile(r"\s*\w+_micro (bigint|numeric\(38, 0\))(?!\w)", re.IGNORECASE)
    # A column's line names its type first; a condition's has an operator there, or a keyword.
    column = re.compile(r"\s*\w+_micro (?!between|is|in|and|or)[a-z]+\b", re.IGNORECASE)
    offences = [
        f"{relative(path)}: {line.strip()}"
        for path in sorted(ROOT.glob("services/*/migrations/*.sql"))
        for line in path.read_text().splitlines()
        if column.match(line) and not whole.match(line)
    ]
    assert offences == []


def test_amounts_in_protos_are_int64() -> None:
    offences = [
        f"{relative(path)}: {line.strip()}"
        for path in sorted(ROOT.glob("protos/*/v1/*.proto"))
        for line in path.read_text().splitlines()
        if re.search(r"\b\w+ \w+_micro = \d+", line) and not re.search(r"\bint64 \w+_micro = ", line)
    ]
    assert offences == []
