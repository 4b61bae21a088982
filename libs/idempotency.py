"""The same request gets the same answer: request ids, kept with a fingerprint of what was asked."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from libs.postgres import Connection
from libs.refusals import InvalidArgument

M = TypeVar("M", bound=Message)

_ID_MAX = 128


class RequestIdInvalid(InvalidArgument):
    """A request id is 1 to 128 printable ASCII characters."""


class RequestIdReused(InvalidArgument):
    """This request id was used for another request."""


class Answer(NamedTuple):
    """What is kept of a request that was answered."""

    request_id: str
    method: str
    fingerprint: bytes
    response: bytes


ANSWERING_WRITTEN: Final = """
    INSERT INTO idempotency (request_id, method, fingerprint, response)
    SELECT $8, $9, $10, $11 FROM written WHERE $8::text IS NOT NULL
"""
"""Part of a statement that changes something as `written`, and keeps the answer where it did.

Its parameters are an Answer, or four times None, after those of `outbox.telling`.
"""


class Once(Generic[M]):
    """A request with an id: its first answer is every answer. The method is what its message is named after.

    `key` (at most 64 bytes, for ever the same) keys the fingerprint of a request that names a person, so that it cannot
    be guessed back.
    """

    def __init__(self, request_id: str, request: Message, response_type: type[M], key: bytes = b"") -> None:
        self._request_id = request_id
        self._request = request
        self._response_type = response_type
        self._key = key
        self._method: str = request.DESCRIPTOR.name.removesuffix("Request")

    async def replay(self, connection: Connection) -> M | None:
        """Return the first answer; to be asked before anything else in the transaction. Raises as `replay` does."""
        return await replay(
            connection,
            request_id=self._request_id,
            method=self._method,
            request=self._request,
            response_type=self._response_type,
            key=self._key,
        )

    async def replay_kept(self, connection: Connection) -> M:
        """Return the first answer of a request that has one, where answers are never dropped."""
        earlier = await self.replay(connection)
        if earlier is None:
            raise AssertionError(f"an answer to {self._method} was dropped")
        return earlier

    async def remember(self, connection: Connection, response: M) -> M:
        """Keep the answer with the effect, and return it."""
        await _keep(connection, self.answer(response))
        return response

    @cached_property
    def fingerprint(self) -> bytes:
        """Tells what was asked from anything else, without telling it."""
        return _fingerprint(self._request, self._key)

    def answer(self, response: M) -> Answer:
        """Return what a statement with ANSWERING_WRITTEN is to keep."""
        return Answer(self._request_id, self._method, self.fingerprint, response.SerializeToString())

    def given(self, answer: Answer) -> M:
        """Return the response that was kept so."""
        return self._response_type.FromString(answer.response)


def check_request_id(request_id: str) -> None:
    """Raises RequestIdInvalid."""
    if not 1 <= len(request_id) <= _ID_MAX or not all(" " <= letter <= "~" for letter in request_id):
        raise RequestIdInvalid(field="request_id")


async def replay(
    connection: Connection,
    *,
    request_id: str,
    method: str,
    request: Message,
    response_type: type[M],
    key: bytes = b"",
) -> M | None:
    """The answer given before, or None for a new request; to be asked first in the command's transaction.

    A request with the same id that is under way is waited for: one executes, the other gets its answer.
    `key` (at most 64 bytes, for ever the same) keys the fingerprint of a request that names a person, so that it cannot
    be guessed back. Raises RequestIdInvalid, and RequestIdReused where the same id came with other content.
    """
    check_request_id(request_id)
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))", method, request_id)
    row = await connection.fetchrow(
        "SELECT fingerprint, response FROM idempotency WHERE request_id = $1 AND method = $2", request_id, method
    )
    if row is None:
        return None
    if row["fingerprint"] != _fingerprint(request, key):
        raise RequestIdReused(field="request_id")
    return response_type.FromString(row["response"])


async def remember(
    connection: Connection,
    *,
    request_id: str,
    method: str,
    request: Message,
    response: Message,
    key: bytes = b"",
) -> None:
    """Keeps the answer in the transaction of the effect; `key` as in `replay`."""
    await _keep(connection, Answer(request_id, method, _fingerprint(request, key), response.SerializeToString()))


async def _keep(connection: Connection, answer: Answer) -> None:
    await connection.execute(
        "INSERT INTO idempotency (request_id, method, fingerprint, response) VALUES ($1, $2, $3, $4)", *answer
    )


async def purge(connection: Connection, *, methods: Sequence[str], keep: timedelta, limit: int) -> int:
    """Drops answers of these methods that are older than that, at most so many; returns how many.

    Only of methods whose repeat does nothing without them: it finds by keys of its own that all was done.
    """
    # By the database's clock, as they are dated: how long somebody may go on asking is real time.
    dropped: str = await connection.execute(
        """
        DELETE FROM idempotency WHERE (request_id, method) IN (
            SELECT request_id, method FROM idempotency
            WHERE method = ANY ($1::text[]) AND created_at < now() - $2::interval LIMIT $3
        )
        """,
        methods,
        keep,
        limit,
    )
    return int(dropped.rsplit(maxsplit=1)[-1])


def _fingerprint(request: Message, key: bytes) -> bytes:
    # Maps are the one thing whose order must be fixed.
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16, key=key).digest()
