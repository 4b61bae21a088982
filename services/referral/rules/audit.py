"""How the audit log is chained, and what may be asked of it."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from libs.refusals import InvalidArgument
from services.referral.model.audit import Act, AuditHead, AuditRow

PAGE: Final = 50
MAX_PAGE: Final = 200
EMPTY: Final = AuditHead(0, bytes(32))

_DOMAIN: Final = b"creator.referral.audit.v1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class AuditLogPageInvalid(InvalidArgument):
    """A page of the audit log has 1 to 200 rows and goes on where a former one ended."""


def chained(former: AuditHead, act: Act) -> AuditRow:
    """The next row of the chain."""
    sequence = former.sequence + 1
    return AuditRow(sequence, act, _hash(former.hash, sequence, act))


def broken_at(former: AuditHead, rows: Iterable[AuditRow]) -> tuple[int | None, AuditHead]:
    """The first sequence that is missing or does not fit its hash, None when all do; and how far the chain holds."""
    for row in rows:
        if row != chained(former, row.act):
            return former.sequence + 1, former
        former = AuditHead(row.sequence, row.hash)
    return None, former


def check_page(size: int, token: str) -> tuple[int, int | None]:
    """The size of a page, and the sequence it stays below."""
    if not 0 <= size <= MAX_PAGE:
        raise AuditLogPageInvalid(field="page_size")
    if not token:
        return size or PAGE, None
    if not (token.isascii() and token.isdecimal() and len(token) <= 18):  # noqa: PLR2004 - fits a bigint
        raise AuditLogPageInvalid(field="page_token")
    return size or PAGE, int(token)


def _hash(former: bytes, sequence: int, act: Act) -> bytes:
    """Every field with its length before it, so that no two rows read the same."""
    micros = (act.acted_at - _EPOCH) // timedelta(microseconds=1)
    fields = (
        _DOMAIN,
        former,
        sequence.to_bytes(8, "big"),
        act.act.encode(),
        act.subject.encode(),
        act.account_ref.bytes if act.account_ref else b"",
        act.operator_id.encode(),
        act.reason.encode(),
        micros.to_bytes(8, "big", signed=True),
    )
    return hashlib.sha256(b"".join(len(field).to_bytes(4, "big") + field for field in fields)).digest()
