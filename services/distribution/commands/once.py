from typing import Generic, TypeVar

from google.protobuf.message import Message

from libs import idempotency
from libs.postgres import Connection

R = TypeVar("R", bound=Message)


class Once(Generic[R]):
    """A request with an id: its first answer is every answer. The method is what its message is named after."""

    def __init__(self, request_id: str, request: Message, response_type: type[R]) -> None:
        self._request = request
        self._request_id = request_id
        self._response_type = response_type
        self._method: str = request.DESCRIPTOR.name.removesuffix("Request")

    async def replay(self, connection: Connection) -> R | None:
        """Return the first answer; to be asked before anything else in the transaction."""
        return await idempotency.replay(
            connection,
            request_id=self._request_id,
            method=self._method,
            request=self._request,
            response_type=self._response_type,
        )

    async def remember(self, connection: Connection, response: R) -> R:
        """Keep the answer with the effect, and return it."""
        await idempotency.remember(
            connection, request_id=self._request_id, method=self._method, request=self._request, response=response
        )
        return response
