"""Starts a program that dies with whoever started it: `python -I -S leash.py PARENT SIGNAL UID GID -- PROGRAM ARGS…`.

A launcher of its own, because the kernel forgets the death signal when the user changes, and because code between fork
and exec in a process with threads can deadlock. UID and GID are -1 where the user stays the same.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, uid: int, gid: int, argv: list[str]) -> None:
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)
    os.execvp(argv[0], argv)  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    separator = sys.argv.index("--")
    parent, death_signal, uid, gid = map(int, sys.argv[1:separator])
    main(parent, death_signal, uid, gid, sys.argv[separator + 1 :])
