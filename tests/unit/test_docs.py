"""The documentation against the code: what it links to, runs, sets and works out exists and is so."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import reference
from deploy.local.ports import SERVICES
from libs.money import Rates, split
from tests.unit.test_deployments import PROCESSES, declared

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FIRST_RULE = Rates(1000, 500, 7000, 2500)
OF_THE_STACK = {"PORT_BASE"}
CODES = {"UNAVAILABLE", "FAILED"}


def name(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]+`", "", page.read_text())
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`(?:[A-Z_]+=\S+ )?make ([a-z-]+)", page.read_text())) <= targets
    modules = re.findall(r"python -m ([a-z_.]+)", page.read_text())
    assert [each for each in modules if not (ROOT / (each.replace(".", "/") + ".py")).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in reference.PAGES], ids=name)
def test_every_setting_is_read_by_a_process(page: Path) -> None:
    known = {setting for process in PROCESSES for setting in declared(process)} | OF_THE_STACK | CODES
    named = set(re.findall(r"(?<![\w`$/])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)", page.read_text()))
    assert named <= known


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_reference_is_what_routes_and_protos_say(page: str) -> None:
    made = reference.PAGES[page]()
    assert (ROOT / "docs" / page).read_text() == made, "run `make docs`"
    titles = re.findall(r"^#+ (.+)$", made, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", made)) <= anchors


def resource(process: str, kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / f"deploy/kubernetes/base/{process}.yaml").read_text())
    [found] = [each for each in documents if each["kind"] == kind]
    return dict(found["spec"])


def leads(service: str) -> int:
    """What one replica leads, or waits to lead; and the group writer."""
    sources = {path: path.read_text() for path in (ROOT / "services" / service).rglob("*.py")}
    wired = sources[ROOT / "services" / service / "__main__.py"]
    own = [text for text in sources.values() if re.search(r"await lead\(|postgres\.dedicated\(\)", text)]
    return len(re.findall(r"app\.(?:jobs|relay)\(", wired)) + len(own)


def test_connections_are_counted_right() -> None:
    text = (ROOT / "docs/scaling.md").read_text()
    overlay = (ROOT / "deploy/kubernetes/overlays/production/kustomization.yaml").read_text()
    [(names, least)] = re.findall(r"name: '\(([a-z|]+)\)'.*?minReplicas, value: (\d+)", overlay, re.DOTALL)
    rows = re.findall(r"^\| (\w+) \| 10 \+ (\d) \| (\d) \| (\d+) \| (\d) \| (\d+) \|$", text, re.MULTILINE)
    sums = [0, 0]
    for service, *numbers in rows:
        scaled, each = resource(service, "HorizontalPodAutoscaler"), 10 + leads(service)
        bounds = [int(least) if service in names else scaled["minReplicas"], scaled["maxReplicas"]]
        taken = [bound * each for bound in bounds]
        assert list(map(int, numbers)) == [each - 10, bounds[0], taken[0], bounds[1], taken[1]], service
        sums = [before + more for before, more in zip(sums, taken, strict=True)]
    assert {row[0] for row in rows} == set(SERVICES)
    assert f"| all | | | {sums[0]} | | {sums[1]} |" in text


def test_each_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_worked_numbers_are_those_of_the_rules() -> None:
    rows = re.findall(r"^\| (\d+(?: \| \d+){7}) \|$", (ROOT / "docs/concepts.md").read_text(), re.MULTILINE)
    assert len(rows) == 5
    for row in rows:
        revenue, *shares = map(int, row.split(" | "))
        referred, organic = (split(revenue, FIRST_RULE, referred=each) for each in (True, False))
        of_referred = [referred.referrer_micro, referred.commons_micro, referred.community_micro]
        of_organic = [organic.commons_micro, organic.community_micro, organic.foundation_micro]
        assert shares == [*of_referred, referred.foundation_micro, *of_organic]
