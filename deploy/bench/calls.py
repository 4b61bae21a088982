"""The callers, in a process of their own: many calls at once for a few seconds, told as one line of JSON.

Requests are made and packed before, and answers unpacked after: a caller takes as little of the machine as it can.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import grpc
import uvloop

from deploy.bench import echo
from deploy.bench.charges import charges
from protos.distribution.v1 import distribution_pb2

_SERVICE = "/creator.distribution.v1.DistributionService/"
_METADATA = (("x-caller", "billing"),)
_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
_WAIT_SECONDS = 30

# More than any machine answers in a second, made ready for each second.
_READY = {"echo": 1, "echo-stream": 1, "unary": 9_000, "stream": 20_000, "stream-together": 40_000, "batch": 40_000}
_METHODS = {
    "echo": echo.METHOD,
    "echo-stream": echo.STREAM_METHOD,
    "unary": f"{_SERVICE}Finalize",
    "stream": f"{_SERVICE}FinalizeStream",
    "stream-together": f"{_SERVICE}FinalizeStream",
    "batch": f"{_SERVICE}FinalizeBatch",
}


class Work:
    """What one run sends, and what came of it: when each message was answered, how long it took, what was said."""

    def __init__(self, requests: Sequence[bytes], ends: float) -> None:
        self._requests = itertools.cycle(requests) if len(requests) == 1 else iter(requests)
        self.ends = ends
        self.answered: list[tuple[float, float]] = []
        self.answers: list[bytes] = []

    def note(self, began: float, answer: bytes) -> None:
        now = time.perf_counter()
        self.answered.append((now, now - began))
        self.answers.append(answer)

    def next(self) -> bytes | None:
        """The next request, or None when time or requests have come to their end."""
        return next(self._requests, None) if time.perf_counter() < self.ends else None


async def _unary(channel: grpc.aio.Channel, work: Work, options: argparse.Namespace) -> None:
    call: Any = channel.unary_unary(_METHODS[options.kind])
    while (request := work.next()) is not None:
        began = time.perf_counter()
        work.note(began, await call(request, timeout=_WAIT_SECONDS, metadata=_METADATA))


async def _stream(channel: grpc.aio.Channel, work: Work, options: argparse.Namespace) -> None:
    """One stream with a window of charges on their way; how long one takes follows from the window and the rate."""
    call: Any = channel.stream_stream(_METHODS[options.kind])(metadata=_METADATA)
    room = asyncio.Semaphore(options.window)
    left = 1

    async def read() -> None:
        nonlocal left
        while left:
            answer = await call.read()
            if answer is grpc.aio.EOF:
                return
            work.note(time.perf_counter(), answer)
            charges = _charges_of(options.kind, answer)
            left -= charges
            for _ in range(charges):
                room.release()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        while (request := work.next()) is not None:
            for _ in range(options.each):
                await room.acquire()
            left += options.each
            await call.write(request)
        left -= 1
        await call.done_writing()


def _charges_of(kind: str, answer: bytes) -> int:
    """How many charges one message of a stream answers."""
    if kind != "stream-together":
        return 1
    return len(distribution_pb2.FinalizeStreamResponse.FromString(answer).results)


_SENDS: dict[str, Callable[[grpc.aio.Channel, Work, argparse.Namespace], Coroutine[Any, Any, None]]] = {
    "echo": _unary,
    "echo-stream": _stream,
    "unary": _unary,
    "stream": _stream,
    "stream-together": _stream,
    "batch": _unary,
}


def _requests(options: argparse.Namespace, count: int) -> list[bytes]:
    made = itertools.islice(charges(options.order, options.ahead, options.payers), count)
    if options.kind.startswith("echo"):
        return [b""]
    if options.kind == "unary":
        return [each.SerializeToString() for each in made]
    if options.kind == "stream":
        return [distribution_pb2.FinalizeStreamRequest(charge=each).SerializeToString() for each in made]
    packed = (
        distribution_pb2.FinalizeStreamRequest
        if options.kind == "stream-together"
        else distribution_pb2.FinalizeBatchRequest
    )
    parts = iter(lambda: list(itertools.islice(made, options.each)), [])
    return [packed(charges=part).SerializeToString() for part in parts if len(part) == options.each]


def _results(kind: str, answer: bytes) -> Iterator[str]:
    """The distributions that one answer tells of: an empty one for a charge that was refused."""
    if kind == "unary":
        yield distribution_pb2.FinalizeResponse.FromString(answer).distribution_id
    elif kind == "stream":
        yield distribution_pb2.FinalizeStreamResponse.FromString(answer).result.response.distribution_id
    elif kind in {"stream-together", "batch"}:
        together = (
            distribution_pb2.FinalizeBatchResponse if kind == "batch" else distribution_pb2.FinalizeStreamResponse
        )
        for result in together.FromString(answer).results:
            yield result.response.distribution_id


async def _run(options: argparse.Namespace) -> dict[str, float]:
    every = options.warm + options.seconds
    requests = _requests(options, int(_READY[options.kind] * every))
    async with grpc.aio.insecure_channel(options.address, options=_OPTIONS) as channel:
        await asyncio.wait_for(channel.channel_ready(), _WAIT_SECONDS)
        begins = time.perf_counter()
        work = Work(requests, begins + every)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(options.callers):
                tasks.create_task(_SENDS[options.kind](channel, work, options))
    return _told(options, work, begins + options.warm)


def _told(options: argparse.Namespace, work: Work, since: float) -> dict[str, float]:
    """What was answered from the end of the warm-up until requests were no longer sent."""
    told = [
        (list(_results(options.kind, answer)), *when) for answer, when in zip(work.answers, work.answered, strict=True)
    ]
    charges = sum(len(names) for names, _, _ in told)
    if refused := sum(names.count("") for names, _, _ in told):
        raise SystemExit(f"{refused} of {charges} charges were refused")
    if not told:
        raise SystemExit("nothing was answered")
    until = max(since + 1e-3, min(work.ends, max(at for _, at, _ in told)))
    counted = [(names, seconds) for names, at, seconds in told if since <= at <= until]
    taken = sorted(seconds for _, seconds in counted) or [0.0]
    return {
        "answered": charges,
        # An empty echo has no charges: it counts as one.
        "rate": sum(len(names) or 1 for names, _ in counted) / (until - since),
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=tuple(_METHODS))
    parser.add_argument("address")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm", type=float, default=1)
    parser.add_argument("--order", default="time-ordered")
    parser.add_argument("--ahead", type=float, default=0)
    parser.add_argument("--payers", type=int, default=1000)
    parser.add_argument("--each", type=int, default=1, help="charges in one message")
    parser.add_argument("--window", type=int, default=16, help="unanswered charges of one stream")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
