"""Empty calls, answered by the same stack as a service's: what no RPC of it can be faster than on this machine."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.empty_pb2 import Empty

from libs.rpc.door import Context
from libs.service import App, run

SERVICE = "creator.bench.Echo"
METHOD = f"/{SERVICE}/Echo"
STREAM_METHOD = f"/{SERVICE}/EchoStream"


async def echo(request: Empty, _context: Context) -> Empty:
    return request


async def echo_stream(requests: AsyncIterator[Empty], context: Context) -> None:
    async for request in requests:
        await context.write(request)


def _register(_servicer: object, server: grpc.aio.Server) -> None:
    codec = Empty.FromString, Empty.SerializeToString
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo, *codec),
        "EchoStream": grpc.stream_stream_rpc_method_handler(echo_stream, *codec),
    }
    server.add_registered_method_handlers(SERVICE, handlers)


async def wire(app: App) -> None:
    app.serve(_register, object(), SERVICE, frozenset({"billing"}), quiet=frozenset({"Echo", "EchoStream"}))


if __name__ == "__main__":
    run("echo", wire)
