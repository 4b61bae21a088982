"""What an image holds is enough: the Dockerfile's own lines run in a directory, and every process starts from what they
made, as the manifests tell it, with mutual TLS, no rights and every file system read-only."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml

from deploy import pins
from deploy.local.ports import LOOPBACK, SERVICES, free_port
from deploy.local.processes import Process, Spec
from deploy.local.services import is_ok, is_serving
from deploy.local.state import PROJECT
from tests.support.brokers import Broker
from tests.support.certificates import Authority
from tests.support.eventually import eventually

PROCESSES = (*SERVICES, "gateway")
KUBERNETES = PROJECT / "deploy/kubernetes"
CERTIFICATES, SECRETS = "/run/certificates", "/run/secrets/creator"
READ_ONLY = (
    'mount --make-rprivate / && for at in / /tmp /var/tmp; do mount -o remount,bind,ro "$at" 2>/dev/null; done; '
)
NO_RIGHTS = "exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs"


def instructions(stage: str) -> list[tuple[str, str]]:
    """What the Dockerfile does in a stage: instruction and the rest of its line."""
    text = (PROJECT / "deploy/Dockerfile").read_text()
    whole = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    stages = re.split(r"^FROM .* AS (\w+)$", whole, flags=re.MULTILINE)
    lines = stages[stages.index(stage) + 1].strip().splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def run(line: str, at: Path, app: Path, process: str) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SERVICE": process}
    subprocess.run(["/bin/sh", "-ec", line.replace("/app", str(app))], cwd=at, env=environment, check=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory of each process, with `app` as the Dockerfile fills it."""
    directory = tmp_path_factory.mktemp("images")
    build = directory / "build"
    build.mkdir()
    *common, (last, assembling) = instructions("sources")
    assert last == "RUN"
    for instruction, line in common:
        if instruction == "COPY":
            *found, to = line.split()
            for source in found:
                copied(PROJECT / source, build / to / Path(source).name if to == "./" else build / to)
        elif instruction == "RUN" and "pip install" not in line:
            run(line, build, directory / "nowhere", "")
    for process in PROCESSES:
        (directory / process).mkdir()
        run(assembling, build, directory / process / "app", process)
    return {process: directory / process for process in PROCESSES}


def copied(source: Path, to: Path) -> None:
    """Without what .dockerignore leaves out."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__", "*_pb2*.py*"))
    else:
        shutil.copy(source, to)


def packages(directory: Path, process: str) -> None:
    """A virtual environment that has the pinned packages of one image and nothing besides."""
    venv.create(directory, with_pip=False, symlinks=True)
    (site,) = (directory / "lib").glob("python3*/site-packages")
    constraints, project = (PROJECT / "constraints.txt").read_text(), (PROJECT / "pyproject.toml").read_text()
    for pin in pins.chosen(constraints, pins.roots(project, process)):
        try:
            files = distribution(pin.name).files or []
        except PackageNotFoundError:
            continue  # another platform's
        for file in (each for each in files if ".." not in each.parts and "__pycache__" not in each.parts):
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).unlink(missing_ok=True)  # some packages bring the same file
            (site / file).symlink_to(file.locate())


def told(process: str, directory: Path, ports: dict[str, int]) -> dict[str, str]:
    """What the manifests of production tell a process, on ports and in directories of this test."""
    lines = [
        each.read_text() for each in (KUBERNETES / "base/settings.env", KUBERNETES / "overlays/production/settings.env")
    ]
    given = dict(line.split("=", 1) for line in "\n".join(lines).splitlines() if "=" in line)
    for file in ("common", process):
        documents = yaml.safe_load_all((KUBERNETES / f"base/{file}.yaml").read_text())
        [pod] = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
        given |= {each["name"]: str(each["value"]) for each in pod["containers"][0]["env"]}
    for name in given:
        if name.endswith("_LISTEN"):
            given[name] = f"{LOOPBACK}:{ports.setdefault(f'{process} {name}', free_port())}"
        given[name] = given[name].replace(CERTIFICATES, str(directory)).replace(SECRETS, str(directory))
    return given


@pytest.fixture
def read_only() -> list[str]:
    """The beginning of a command line whose rest cannot write anywhere and may do nothing that root may."""
    begin = ["unshare", "--mount", "/bin/sh", "-c", READ_ONLY + NO_RIGHTS + ' "$@"', "sh"]
    tried = subprocess.run([*begin, "touch", str(PROJECT / "touched")], capture_output=True, text=True, check=False)
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"a read-only file system takes root and Linux's mount namespaces: {tried.stderr.strip()}")
    return begin


@pytest.mark.parametrize(
    "started", [("payout", "gateway"), pytest.param(PROCESSES, marks=pytest.mark.nightly)], ids=["two", "all"]
)
async def test_processes_start_from_what_their_images_hold_and_write_nothing(
    started: tuple[str, ...],
    images: dict[str, Path],
    read_only: list[str],
    empty_database: str,
    redis_url: str,
    shared_broker: Broker,
    tmp_path: Path,
) -> None:
    known = {"POSTGRES_DSN": empty_database, "REDIS_URL": redis_url, "NOWPAYMENTS_TOTP_SECRET": "JBSWY3DPEHPK3PXP"}
    ports: dict[str, int] = {}
    given = {process: told(process, tmp_path / process, ports) for process in PROCESSES}
    here = {f"{name.upper()}_ADDRESS": f"{LOOPBACK}:{ports[f'{name} GRPC_LISTEN']}" for name in SERVICES} | {
        "KAFKA_BOOTSTRAP": shared_broker.bootstrap,
        "KAFKA_IDEMPOTENT": str(int(shared_broker.idempotent)),
        "KAFKA_REPLICATION": "1",
        "DRAIN_WAIT_SECONDS": "0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    }
    authority, running = Authority(), {}
    try:
        for name in started:
            mounted(tmp_path / name, authority, name, given[name], known)
            packages(tmp_path / f"{name} venv", name)
            argv = (*read_only, str(tmp_path / f"{name} venv/bin/python"), "main.py")
            spec = Spec(name, argv, images[name] / "app", lambda: True, given[name] | here)
            running[name] = Process(spec, tmp_path / f"{name}.log")
        for name in set(started) - {"gateway"}:
            probes = ports[f"{name} PROBES_LISTEN"]
            await eventually(lambda: is_serving(probes), within=60)  # noqa: B023 - waited for here
        # It is quick to say that it is ready where all services are there.
        page = "/readyz" if started == PROCESSES else "/healthz"
        await eventually(lambda: is_ok(ports["gateway GATEWAY_LISTEN"], page), within=60)
        for each in running.values():
            each.ask_to_stop()
        await eventually(lambda: all(each.exit_code is not None for each in running.values()), within=30)
        assert {name: each.exit_code for name, each in running.items()} == dict.fromkeys(started, 0)
    finally:
        for each in running.values():
            each.kill()


def mounted(directory: Path, authority: Authority, process: str, given: dict[str, str], known: dict[str, str]) -> None:
    """The secrets and certificates that a process is told to read, as files."""
    directory.mkdir()
    issued = authority.issue(process)
    certificates = {"tls.crt": issued.certificate, "tls.key": issued.key, "ca.crt": issued.authority}
    for name, file in given.items():
        if name.endswith("_FILE"):
            secret = known.get(name.removesuffix("_FILE"), secrets.token_hex(16)).encode()
            Path(file).write_bytes(certificates.get(Path(file).name, secret))


@pytest.mark.parametrize("process", PROCESSES)
def test_an_image_holds_one_process(images: dict[str, Path], process: str) -> None:
    app = images[process] / "app"
    held = {path.name for path in app.iterdir()}
    own = {"gateway"} if process == "gateway" else {"services"}
    assert held - {"__pycache__"} == {"libs", "protos", "main.py"} | own
    if process != "gateway":
        assert {path.name for path in (app / "services").iterdir()} - {"__pycache__"} == {"__init__.py", process}
    assert [path for path in app.rglob("*") if path.suffix in {".pyi", ".md", ".proto~"} or "test" in path.name] == []
    assert list(app.rglob("*_pb2_grpc.py"))
