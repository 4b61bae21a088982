"""Explaining an attribution to an operator: who asks, and why, is written down with it."""

from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from services.referral.commands import audit
from services.referral.model import Facts, Kind, Limits
from services.referral.model.explanations import Explanation
from services.referral.rules import explaining as rules
from services.referral.rules.codes import typed_code
from services.referral.rules.registration import velocity_since
from services.referral.store import accounts, codes, explanations, registrations

_ATTEMPTS_MAX = 50
_NOBODY = UUID(int=0)


@retried
async def explain_account(
    postgres: Postgres, clock: Clock, account_id: str, *, months: int, operator_id: str, reason: str
) -> Explanation:
    """How an account's attribution was decided; one that is not known is undecided."""
    async with postgres.transaction() as connection:
        account_ref = await accounts.find(connection, account_id)
        explanation = await _of_account(connection, account_ref or _NOBODY, months)
        await _record(connection, "account", account_ref, operator_id, reason, clock.now())
    return explanation


@retried
async def explain_code(
    postgres: Postgres, clock: Clock, code: str, at: datetime | None, *, limits: Limits, operator_id: str, reason: str
) -> Explanation:
    """What a code would have answered at an instant; raises ExplainTimeInvalid."""
    async with postgres.transaction() as connection:
        now = clock.now()
        instant = rules.check_instant(at, now)
        facts = await _facts(connection, typed_code(code), instant, limits)
        subject = f"code:{facts.code.code_ref}" if facts.code else "code"
        await _record(connection, subject, facts.code.owner_ref if facts.code else None, operator_id, reason, now)
    return rules.code(facts, instant, limits)


async def _of_account(connection: Connection, account_ref: UUID, months: int) -> Explanation:
    binding = await registrations.find(connection, account_ref)
    attempts = await explanations.attempts_of(connection, account_ref, limit=_ATTEMPTS_MAX)
    window_end = None
    if binding is not None and binding.kind is Kind.REFERRED:
        window_end = await explanations.window_end(connection, binding.created_at, months=months)
    return rules.account(attempts, binding, window_end)


async def _facts(connection: Connection, typed: str, at: datetime, limits: Limits) -> Facts:
    code = rules.code_at(await codes.find(connection, typed), at)
    if code is None:
        return rules.no_code()
    standing = await explanations.standing_at(connection, code.owner_ref, at)
    recent = await explanations.count_bindings(connection, code.code_ref, velocity_since(at, limits), at)
    return Facts(_NOBODY, None, code, standing, recent)


async def _record(
    connection: Connection, subject: str, account_ref: UUID | None, operator_id: str, reason: str, now: datetime
) -> None:
    await audit.record(
        connection,
        act="ATTRIBUTION_EXPLAINED",
        subject=subject,
        operator_id=operator_id,
        reason=reason,
        account_ref=account_ref,
        now=now,
    )
