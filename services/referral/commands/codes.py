"""Codes: made, looked at, ended by time."""

import secrets
from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.idempotency import Once
from libs.ids import new_id
from libs.postgres import Connection, Postgres, retried
from protos.referral.v1 import admin_pb2
from services.referral.commands import audit
from services.referral.model import Code, CodeState, CodeWish
from services.referral.rules import codes as code_rules
from services.referral.store import accounts, codes

_DRAWS_MAX = 5
_EXPIRE_BATCH = 500


@retried
async def create_code(postgres: Postgres, clock: Clock, account_id: str, wish: CodeWish) -> tuple[Code, bool]:
    """The account's active code, and whether it was made now. Asking again, also at the same time, returns the same.

    Raises ActiveCodeExists, CodeTaken, CodeExpiryInvalid.
    """
    async with postgres.transaction() as connection:
        owner_ref = await accounts.lock(connection, account_id)
        now = clock.now()
        active = await _active(connection, owner_ref, now)
        if active is not None:
            code_rules.check_same_code(active, wish)
            return active, False
        code_rules.check_expiry(wish.expires_at, now)
        return await _issue(connection, owner_ref, wish, now), True


@retried
async def get_code(postgres: Postgres, clock: Clock, account_id: str) -> Code:
    """The account's active code; one whose time is over is expired on the way. Raises NoActiveCode."""
    async with postgres.connection() as connection:
        code = await codes.find_active(connection, account_id)
    if code is None:
        raise code_rules.NoActiveCode
    if code_rules.ended_by_time(code, clock.now()) is code:
        return code
    async with postgres.transaction() as connection:
        active = await _active(connection, code.owner_ref, clock.now())
    if active is None:
        raise code_rules.NoActiveCode
    return active


@retried
async def revoke_code(postgres: Postgres, clock: Clock, request: admin_pb2.RevokeCodeRequest, key: bytes) -> Code:
    """Ends a code for ever by an operator's word; the same request again gets the code as it is.

    Raises CodeUnknown, CodeEnded.
    """
    once = Once(request.request_id, request, admin_pb2.RevokeCodeResponse, key)
    async with postgres.transaction() as connection:
        again = await once.replay(connection) is not None
        code = await codes.lock(connection, code_rules.typed_code(request.code))
        if code is None:
            raise code_rules.CodeUnknown
        if again:
            return code
        now = clock.now()
        revoked = code_rules.revoked(await ended_by_time(connection, code, now), now)
        await codes.save(connection, revoked)
        # What is answered is how the code stands when asked; what is kept is that this was done.
        await once.remember(connection, admin_pb2.RevokeCodeResponse())
        await audit.record(
            connection,
            act="REVOKE_CODE",
            subject=f"code:{code.code_ref}",
            operator_id=request.operator_id,
            reason=request.reason,
            account_ref=code.owner_ref,
            now=now,
        )
    return revoked


async def expire_codes(postgres: Postgres, now: datetime) -> int:
    """Expires every code whose time is over at `now`; returns how many."""
    total = 0
    while True:
        expired = await _expire_batch(postgres, now)
        total += expired
        if expired < _EXPIRE_BATCH:
            return total


async def ended_by_time(connection: Connection, code: Code, now: datetime) -> Code:
    """A locked code as it is now; the end of its time is written down by whoever meets it first."""
    seen = code_rules.ended_by_time(code, now)
    if seen is not code:
        await codes.save(connection, seen)
    return seen


@retried
async def _expire_batch(postgres: Postgres, now: datetime) -> int:
    async with postgres.transaction() as connection:
        return await codes.expire(connection, now, limit=_EXPIRE_BATCH)


async def _active(connection: Connection, owner_ref: UUID, now: datetime) -> Code | None:
    code = await codes.lock_active(connection, owner_ref)
    if code is None:
        return None
    code = await ended_by_time(connection, code, now)
    return code if code.state is CodeState.ACTIVE else None


async def _issue(connection: Connection, owner_ref: UUID, wish: CodeWish, now: datetime) -> Code:
    for _ in range(1 if wish.vanity else _DRAWS_MAX):
        code = Code(
            code_ref=new_id(),
            code=wish.vanity or code_rules.draw_code(secrets.choice),
            owner_ref=owner_ref,
            created_at=now,
            expires_at=wish.expires_at,
            max_uses=wish.max_uses,
        )
        if await codes.insert(connection, code):
            return code
    raise code_rules.CodeTaken(field="vanity_code" if wish.vanity else None)
