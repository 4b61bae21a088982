"""Where tests put what they throw away: in memory, where there is plenty of it."""

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only the base of directories that are made safely
_ROOM_BYTES: Final = 6 * 2**30
_LEFT_BYTES: Final = 10 * 2**30


def choose() -> None:
    """Put temporary files in memory: a database per test is hundreds of small files, and a disk makes most of its time.

    Whoever sets TMPDIR has chosen. Processes that are started inherit the choice.
    """
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(MEMORY)


def _has_room() -> bool:
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    # PostgreSQL's programs may have to be copied there, and are run.
    runs = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return runs and shutil.disk_usage(MEMORY).free > _ROOM_BYTES and psutil.virtual_memory().available > _LEFT_BYTES
