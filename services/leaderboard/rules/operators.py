"""What an operator has to say of an order."""

import re
from typing import Final

from libs.refusals import InvalidArgument

_OPERATOR_ID = re.compile(r"[ -~]{1,128}")
_REASON_MAX: Final = 500


class RebuildOrderInvalid(InvalidArgument):
    """An order names its operator in 1 to 128 printable ASCII characters, and its reason in 1 to 500 characters."""


def check_order(operator_id: str, reason: str) -> None:
    """Raises RebuildOrderInvalid."""
    if not _OPERATOR_ID.fullmatch(operator_id):
        raise RebuildOrderInvalid(field="operator_id")
    if not 1 <= len(reason.strip()) <= _REASON_MAX or "\0" in reason:
        raise RebuildOrderInvalid(field="reason")
