from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from libs import idempotency
from libs.postgres import Connection

R = TypeVar("R", bound=Message)

_METHOD_END: Final = "Request"


class Once(Generic[R]):
    """A request with an id: its first answer is every answer. The method is what its message is named after.

    `key` keys the fingerprint, because the requests name accounts.
    """

    def __init__(self, request_id: str, request: Message, response_type: type[R], key: bytes) -> None:
        self._request_id = request_id
        self._request = request
        self._response_type = response_type
        self._key = key
        self._method: str = request.DESCRIPTOR.name.removesuffix(_METHOD_END)

    async def replay(self, connection: Connection) -> R | None:
        """Return the first answer; to be asked before anything else in the transaction."""
        return await idempotency.replay(
            connection,
            request_id=self._request_id,
            method=self._method,
            request=self._request,
            response_type=self._response_type,
            key=self._key,
        )

    async def remember(self, connection: Connection, response: R) -> R:
        """Keep the answer with the effect, and return it."""
        await idempotency.remember(
            connection,
            request_id=self._request_id,
            method=self._method,
            request=self._request,
            response=response,
            key=self._key,
        )
        return response
