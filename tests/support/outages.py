"""One process of a running stack is gone, and nobody starts it again until the block is left."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.support.stacks import Stack


@contextmanager
def gone(stack: Stack, name: str) -> Iterator[None]:
    """Kill a process while the one that would start it again stands still."""
    process = psutil.Process(stack.pid(name))
    supervisor = process.ppid()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        process.kill()
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
        stack.up()
