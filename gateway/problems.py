"""Saying no over HTTP: RFC 9457 problem+json, the same from every path.

A `Problem` is raised anywhere and written once, by the outermost layer. What a service refuses becomes a problem in
`gateway.refusals`.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

from gateway.schemas.problem import FieldProblem, ProblemDocument

CONTENT_TYPE = "application/problem+json"

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Problem(Exception):
    """An answer that is not a success. `code` is for programs, `detail` for people."""

    status: int
    code: ClassVar[str]
    detail: str
    errors: tuple[FieldProblem, ...]
    headers: dict[str, str]

    def __init_subclass__(cls) -> None:
        """Name the problem after the class, as refusals are."""
        super().__init_subclass__()
        cls.code = _WORD_START.sub("_", cls.__name__).upper()

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: tuple[FieldProblem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take the docstring's first line as the detail unless one is given."""
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.errors = errors
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    @property
    def reason(self) -> str:
        """The `code` of the document."""
        return self.code

    def document(self, request_id: str) -> ProblemDocument:
        """What the client reads."""
        return ProblemDocument(
            type="urn:creator-economy:problem:" + self.reason.lower().replace("_", "-"),
            title=self.reason.replace("_", " ").capitalize(),
            status=self.status,
            detail=self.detail,
            code=self.reason,
            errors=list(self.errors),
            request_id=request_id,
        )


class RouteUnknown(Problem):
    """There is nothing at this path."""

    status = HTTPStatus.NOT_FOUND


class AssetUnknown(Problem):
    """There is no such part of the pages, or it is of another release: load the page again."""

    status = HTTPStatus.NOT_FOUND


class PathInvalid(Problem):
    """A name in the path is not of the form it must have."""

    status = HTTPStatus.BAD_REQUEST


class IdempotencyKeyMissing(Problem):
    """This request needs an Idempotency-Key: 1 to 128 printable characters, the same for the same request."""

    status = HTTPStatus.BAD_REQUEST


class MethodNotAllowed(Problem):
    """This path does not answer that method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class RequestMalformed(Problem):
    """This is not a well-formed HTTP request."""

    status = HTTPStatus.BAD_REQUEST


class HeadersTooLarge(Problem):
    """The request line or a header is too long."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class ExpectationUnknown(Problem):
    """The only expectation met here is 100-continue."""

    status = HTTPStatus.EXPECTATION_FAILED


class BodyTooLarge(Problem):
    """The body is too large."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyTooSlow(Problem):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class BodyMissing(Problem):
    """A JSON body is wanted."""

    status = HTTPStatus.BAD_REQUEST


class BodyUnexpected(Problem):
    """This route takes no body."""

    status = HTTPStatus.BAD_REQUEST


class BodyMalformed(Problem):
    """The body is not JSON."""

    status = HTTPStatus.BAD_REQUEST


class BodyInvalid(Problem):
    """The body is not what this route takes."""

    status = HTTPStatus.BAD_REQUEST


class QueryInvalid(Problem):
    """The query is not what this route takes."""

    status = HTTPStatus.BAD_REQUEST


class MediaTypeUnsupported(Problem):
    """The body must be application/json, in UTF-8, without a content encoding."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class TokenMissing(Problem):
    """A bearer token is needed."""

    status = HTTPStatus.UNAUTHORIZED


class TokenInvalid(Problem):
    """The bearer token is not valid."""

    status = HTTPStatus.UNAUTHORIZED


class ScopeMissing(Problem):
    """The token does not carry the scope that this route needs."""

    status = HTTPStatus.FORBIDDEN


class RateLimited(Problem):
    """Too many requests."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class LimitsUnavailable(Problem):
    """Requests cannot be counted at present, so this one is not taken."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class KeysUnavailable(Problem):
    """Tokens cannot be checked at present."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class NotReady(Problem):
    """Nothing can be served at present."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class RequestTooSlow(Problem):
    """The answer was not ready in time; it is not known whether the request took effect."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class Internal(Problem):
    """Something went wrong here; it has been written down."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
