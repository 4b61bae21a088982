"""Waiting for what another process is about to do."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], within: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], within: float = ..., every: float = ...) -> T: ...
async def eventually(predicate: Callable[[], Any], within: float = 30.0, every: float = 0.02) -> Any:
    """Calls `predicate` until it answers something true, and returns that; fails with its last answer or exception."""
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            answer = predicate()
            value = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = value
        except Exception as error:  # noqa: BLE001 - not yet is not yet, whatever its form
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within} s; last: {last!r}") from (
                last if isinstance(last, BaseException) else None
            )
        await asyncio.sleep(every)
