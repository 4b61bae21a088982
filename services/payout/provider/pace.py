"""No faster than the provider allows: a bucket of calls, in real time."""

import asyncio
import time


class Pace:
    """Lets `per_second` calls through, at most `burst` at once; the rest wait their turn."""

    def __init__(self, per_second: float, burst: int = 3) -> None:
        self._gap = 1 / per_second
        self._burst = burst
        self._next = 0.0

    async def turn(self) -> None:
        """Waits until one more call may go out."""
        now = time.monotonic()
        self._next = max(self._next, now - self._gap * self._burst) + self._gap
        if self._next > now:
            await asyncio.sleep(self._next - now)

    def rest(self, seconds: float) -> None:
        """Nothing goes out for so long."""
        self._next = max(self._next, time.monotonic() + seconds)
