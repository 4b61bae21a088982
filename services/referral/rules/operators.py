"""Who decides says who and why."""

import re
from typing import Final

from libs.refusals import InvalidArgument

MAX_REASON: Final = 1000

_OPERATOR = re.compile(r"[ -~]{1,128}")
_JOB: Final = "job:"


class ActorInvalid(InvalidArgument):
    """An operator's id is 1 to 128 printable ASCII characters, and does not look like a job's."""


class ActReasonInvalid(InvalidArgument):
    """A reason is 1 to 1000 characters."""


def check_operator(operator_id: str) -> str:
    """Returns an operator's id, or raises ActorInvalid."""
    if operator_id.startswith(_JOB):
        raise ActorInvalid(field="operator_id")
    return check_actor(operator_id)


def check_actor(operator_id: str) -> str:
    """Returns the id of an operator or a job, or raises ActorInvalid."""
    if not _OPERATOR.fullmatch(operator_id):
        raise ActorInvalid(field="operator_id")
    return operator_id


def check_reason(reason: str) -> str:
    """Returns why an operator acts, or raises ActReasonInvalid."""
    if not is_text(reason, MAX_REASON):
        raise ActReasonInvalid(field="reason")
    return reason


def is_text(text: str, longest: int) -> bool:
    """Whether a text says something, and can be stored and shown; it may have lines."""
    printable = all(letter.isprintable() or letter in "\n\t" for letter in text)
    return 0 < len(text) <= longest and bool(text.strip()) and printable
