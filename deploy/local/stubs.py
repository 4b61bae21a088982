"""Makes the Python stubs beside each `.proto`: `python -m deploy.local.stubs`; quick when nothing changed."""

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploy.local.trouble import Trouble

PROJECT = Path(__file__).resolve().parents[2]
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
TOOLS = ("grpcio-tools", "mypy-protobuf", "protobuf")


def generate(project: Path = PROJECT) -> bool:
    """Brings every stub up to date; True when there was something to do."""
    with _alone(project):
        protos = sorted((project / "protos").rglob("*.proto"))
        stamp = project / ".local" / "stubs.stamp"
        key = _key(protos, project)
        if protos and _is_current(stamp, key, protos):
            return False
        _remove_orphans(project, protos)
        _make(project, protos)
        stamp.write_text(key)
        return True


@contextlib.contextmanager
def _alone(project: Path) -> Iterator[None]:
    (project / ".local").mkdir(exist_ok=True)
    with (project / ".local" / "stubs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(protos: list[Path], project: Path) -> str:
    """What the stubs are made from: every source and the makers' versions."""
    digest = hashlib.sha256(repr([(tool, _version(tool)) for tool in TOOLS]).encode())
    for proto in protos:
        digest.update(repr((str(proto.relative_to(project)), proto.read_bytes())).encode())
    return digest.hexdigest()


def _version(tool: str) -> str:
    try:
        return version(tool)
    except PackageNotFoundError:
        raise Trouble(f"The package {tool} is not installed in this Python: run `make setup`.") from None


def _is_current(stamp: Path, key: str, protos: list[Path]) -> bool:
    made = all(stub.exists() for proto in protos for stub in stubs_of(proto))
    return made and stamp.exists() and stamp.read_text() == key


def stubs_of(proto: Path) -> list[Path]:
    return [proto.with_name(proto.stem + suffix) for suffix in SUFFIXES]


def _remove_orphans(project: Path, protos: list[Path]) -> None:
    wanted = {stub for proto in protos for stub in stubs_of(proto)}
    for path in (project / "protos").rglob("*_pb2*"):
        if path.name.endswith(SUFFIXES) and path not in wanted:
            path.unlink()


def _make(project: Path, protos: list[Path]) -> None:
    """Generates beside, then moves each file into place, so that nobody reads half a stub."""
    with tempfile.TemporaryDirectory(dir=project / ".local", prefix="stubs-") as directory:
        outputs = ("--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out")
        flags = [f"{output}={'only_async:' if output == '--mypy_grpc_out' else ''}{directory}" for output in outputs]
        plugins = [f"--plugin=protoc-gen-{name}={_plugin('protoc-gen-' + name)}" for name in ("mypy", "mypy_grpc")]
        names = [str(proto.relative_to(project)) for proto in protos]
        argv = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *plugins, *flags, *names]
        done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Trouble("The protos do not compile:\n" + done.stderr.strip())
        for proto in protos:
            for stub in stubs_of(proto):
                made = Path(directory) / stub.relative_to(project)
                if not stub.exists() or stub.read_bytes() != made.read_bytes():
                    made.replace(stub)


def _plugin(name: str) -> str:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Trouble(f"{name} is not installed beside this Python: run `make setup`.")
    return found


if __name__ == "__main__":
    try:
        generate()
    except Trouble as trouble:
        sys.exit(str(trouble))
