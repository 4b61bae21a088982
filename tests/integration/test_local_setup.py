"""Setting up on a real file system, with the real pip."""

import sys
from pathlib import Path

import pytest

from deploy.local import setup
from deploy.local.trouble import Trouble


def project_with(directory: Path, constraints: str) -> Path:
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (directory / "constraints.txt").write_text(constraints)
    (directory / ".local").mkdir()
    return directory


def test_a_finished_environment_is_left_alone(tmp_path: Path) -> None:
    project = project_with(tmp_path, "")
    (project / ".venv" / "stamp").write_text(setup.stamp_of(project))
    setup._install(project)
    assert (project / ".venv" / "bin" / "python").resolve() == Path(sys.executable).resolve()


def test_a_half_made_environment_is_made_again(tmp_path: Path) -> None:
    project = project_with(tmp_path, "# nothing pinned\n")
    (project / ".venv" / "left").touch()
    setup._install(project)
    assert not (project / ".venv" / "left").exists()
    assert (project / ".venv" / "stamp").read_text() == setup.stamp_of(project)


def test_an_unreachable_index_is_told_apart_from_a_missing_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_with(tmp_path, "nothing-of-this-name==1.0 --hash=sha256:" + "0" * 64)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Trouble, match="cannot be reached"):
        setup._install(project)
    assert not (project / ".venv" / "stamp").exists()
