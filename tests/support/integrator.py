"""A Python of an integrator's own: the client's wheel is installed in it, and nothing else of ours."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from deploy.client import build


@pytest.fixture(scope="session")
def integrator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its interpreter, which finds gRPC where it is installed already."""
    directory = tmp_path_factory.mktemp("integrator")
    wheel = build(directory / "dist")
    venv.create(directory / "venv", with_pip=False, symlinks=True)
    python = directory / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, cwd=directory)
    (site,) = (directory / "venv/lib").glob("python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def ran(python: Path, *argv: str, directory: Path) -> str:
    """What a program says that has to end well, and without a warning."""
    ended = subprocess.run(
        [str(python), "-W", "error", *argv], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
