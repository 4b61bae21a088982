"""Which documents may be asked for."""

import base64
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.refusals import InvalidArgument, NotFound
from services.distribution.rules.documents import KIND_OF_EVENT

FIRST: Final = ("0001-01-01T00:00:00+00:00", "00000000-0000-0000-0000-000000000000")


class DocumentUnknown(NotFound):
    """No such document."""


class DocumentKeyInvalid(InvalidArgument):
    """A document is asked for by its id, a UUID, or by what it is about."""


class DocumentPageInvalid(InvalidArgument):
    """A page has no more documents than there may be, and its token is one that an answer gave."""


class DocumentTypeInvalid(InvalidArgument):
    """Events are of a type that there is."""


def check_id(text: str, field: str) -> str:
    """Return a UUID in its one spelling; raises DocumentKeyInvalid."""
    try:
        return str(UUID(text))
    except ValueError:
        raise DocumentKeyInvalid(field=field) from None


def check_size(size: int, usual: int, most: int) -> int:
    """Return the size of a page; raises DocumentPageInvalid."""
    if not 0 <= size <= most:
        raise DocumentPageInvalid(field="page_size", limit=most)
    return size or usual


def token_of(at: datetime, document_id: str) -> str:
    """Spell a place in the order of time and id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {document_id}".encode()).decode()


def read_token(token: str) -> tuple[datetime, str]:
    """Read a place; the beginning for none. Raises DocumentPageInvalid."""
    if not token:
        return datetime.fromisoformat(FIRST[0]), FIRST[1]
    try:
        at, _, document_id = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(" ")
        place = datetime.fromisoformat(at), str(UUID(document_id))
    except ValueError:
        raise DocumentPageInvalid(field="page_token") from None
    if place[0].tzinfo is None:
        raise DocumentPageInvalid(field="page_token")
    return place


def check_type(name: str) -> int | None:
    """Return the kind of transfer behind a type of event; none for all. Raises DocumentTypeInvalid."""
    if not name:
        return None
    if name not in KIND_OF_EVENT:
        raise DocumentTypeInvalid(field="type")
    return int(KIND_OF_EVENT[name])
