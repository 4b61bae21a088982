"""Rules and dashboards against the code: every metric exists, every alert is tested and has its runbook."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability import dashboards

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "deploy/observability"
KINDS = {"Counter": [""], "Gauge": [""], "Histogram": ["_bucket", "_sum", "_count"]}
GIVEN = {"process_resident_memory_bytes"}
NEEDED = {
    "creator_referral_registration_attempts_total",  # NFR-5: registrations
    "creator_distribution_campaign_micro",  # rewards distributed, and the budget's use
    "creator_payout_rejected_total",  # failed payouts
    "creator_distribution_referrer_micro_total",  # the referrers' share
}


@cache
def metrics() -> dict[str, set[str]]:
    """Every series that the code makes → its labels."""
    found = {}
    for path in (path for room in ("libs", "services", "gateway") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS):
                continue
            if not (node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
                continue
            labels = set(ast.literal_eval(node.args[2])) if len(node.args) > 2 else set[str]()
            for suffix in KINDS[node.func.id]:
                found[node.args[0].value + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DIRECTORY / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for name, panels in dashboards.DASHBOARDS.items():
        for panel in panels:
            yield from ((f"{name}: {panel.title}", query) for query in panel.queries.values())


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_is_looked_at_exists(where: str, expression: str) -> None:
    known = metrics()
    for name, matchers in re.findall(r"\b(creator_\w+|process_\w+)(?:\{([^}]*)\})?", expression):
        assert name in known or name in GIVEN, name
        if matchers:
            asked = set(re.findall(r"(\w+)\s*(?:=|!)", re.sub(r'"[^"]*"', '""', matchers)))
            assert asked <= known[name], name
    looked_at = set(re.findall(r"\bcreator_\w+", expression))
    by = {label for each in re.findall(r"\bby \(([^)]*)\)", expression) for label in each.replace(" ", "").split(",")}
    labels = set[str]().union(*(known[name] for name in looked_at))
    assert by <= labels | {"app", "instance"}


def test_what_the_requirements_name_is_measured_and_shown() -> None:
    shown = " ".join(expression for _, expression in expressions())
    assert set(metrics()) >= NEEDED
    assert {name for name in NEEDED if name not in shown} == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_severity_a_test_and_a_runbook_that_names_it(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    runbook = ROOT / rule["annotations"]["runbook"]
    assert re.search(rf"(^## |`){rule['alert']}\b", runbook.read_text(), re.MULTILINE)
    tested = [
        test["name"] for path in DIRECTORY.glob("*_test.yaml") for test in yaml.safe_load(path.read_text())["tests"]
    ]
    assert rule["alert"] in tested


def test_the_rules_do_what_their_tests_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: Debian has it in the package prometheus")
    checked = subprocess.run(
        [promtool, "check", "rules", "alerts.yaml"], cwd=DIRECTORY, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    config = subprocess.run(
        [promtool, "check", "config", "--syntax-only", "prometheus.yaml"],
        cwd=DIRECTORY,
        capture_output=True,
        check=False,
    )
    assert config.returncode == 0, config.stderr
    files = sorted(path.name for path in DIRECTORY.glob("*_test.yaml"))
    ended = subprocess.run(
        [promtool, "test", "rules", *files], cwd=DIRECTORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", list(dashboards.DASHBOARDS))
def test_a_dashboard_is_what_its_code_makes(name: str) -> None:
    made = (dashboards.DIRECTORY / f"{name}.json").read_text()
    assert made == dashboards.render(name), "run `python -m deploy.observability.dashboards`"
    assert len({panel["title"] for panel in json.loads(made)["panels"]}) == len(dashboards.DASHBOARDS[name])
