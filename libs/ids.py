from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A UUIDv7: unique, and ordered by the real time at which it was made."""
    return uuid7()


def new_id_text() -> str:
    """The same in text, for a fifth of the time: where one is made per charge."""
    return str(uuid_utils.uuid7())
