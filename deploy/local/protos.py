"""Lints the protos and refuses a change that breaks callers of the last commit: `python -m deploy.local.protos`."""

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def main() -> int:
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    if (code := subprocess.run([buf, "lint"], cwd=PROJECT, check=False).returncode) != 0:
        return code
    with tempfile.TemporaryDirectory() as directory:
        before = Path(directory)
        if not _check_out(before):
            print("No earlier commit to compare the protos with.", file=sys.stderr)
            return 0
        return subprocess.run([buf, "breaking", "--against", before], cwd=PROJECT, check=False).returncode


def _check_out(place: Path) -> bool:
    """Puts the last commit's protos into `place`; False when there are none, as in an unpacked archive."""
    git = shutil.which("git")
    if git is None:
        return False
    argv = [git, "archive", "HEAD", "buf.yaml", "protos"]
    archive = subprocess.run(argv, cwd=PROJECT, capture_output=True, check=False)
    if archive.returncode != 0:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(place, filter="data")
    return True


if __name__ == "__main__":
    sys.exit(main())
