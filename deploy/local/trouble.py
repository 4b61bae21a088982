"""What went wrong, as one sentence for the person at the keyboard."""

import shutil
from pathlib import Path


class Trouble(Exception):
    """One clear sentence that says what to do; shown without a traceback."""


def require_space(directory: Path, needed_mib: int, what: str) -> None:
    """Refuses when the file system of `directory` has less than `needed_mib` free."""
    while not directory.exists():
        directory = directory.parent
    free_mib = shutil.disk_usage(directory).free // 2**20
    if free_mib < needed_mib:
        raise Trouble(
            f"{what} needs {needed_mib} MiB of disk and {directory} has {free_mib} MiB free: free some space."
        )


def require_writable(directory: Path) -> None:
    """Makes `directory` and proves that a file can be made in it."""
    probe = directory / ".probe"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Trouble(
            f"Cannot write in {directory} ({error.strerror}): run as its owner, or copy the project elsewhere."
        ) from error
