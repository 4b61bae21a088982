"""What operators order of an account's standing: override, reinstatement, confirmed fraud, exemption."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from libs.clock import Clock
from libs.idempotency import Once
from libs.postgres import Connection, Postgres, retried
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from protos.referral.v1 import events_pb2
from services.referral.commands import audit, cases, standings
from services.referral.commands import bonuses as moves
from services.referral.model import Standing, StandingRecord
from services.referral.model.bonuses import DenialReason
from services.referral.model.review import Decision
from services.referral.rules import standings as rules
from services.referral.store import accounts, exemptions, risk
from services.referral.store import standings as store

R = TypeVar("R", bound=Message)
_Request = (
    pb.OverrideStandingRequest
    | pb.ReinstateAccountRequest
    | pb.ConfirmFraudRequest
    | pb.ExemptAccountRequest
    | pb.EndExemptionRequest
)
_Act = Callable[[Connection, UUID, datetime], Awaitable[R]]


@retried
async def override_standing(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.OverrideStandingRequest, standing: Standing
) -> pb.OverrideStandingResponse:
    """Sets a standing by hand. Raises AccountNotKnown, StandingInvalid, StandingFinal."""
    decision = Decision(standing is Standing.GOOD, request.operator_id, request.reason)

    async def act(connection: Connection, account_ref: UUID, now: datetime) -> pb.OverrideStandingResponse:
        record = await store.lock(connection, account_ref)
        rules.check_override(record, standing)
        milder = rules.is_harsher(record.standing, standing)
        if standing is Standing.GOOD or milder:
            await cases.close_standing(connection, account_ref, replace(decision, cleared=True), now)
        after = replace(
            record,
            standing=standing,
            reason=rules.OVERRIDDEN,
            changed_by=decision.operator_id,
            by_hand=True,
            counted_from=now if milder else record.counted_from,
        )
        changed = await standings.change(connection, account_ref, record, after, decision.reason, now)
        return pb.OverrideStandingResponse(standing=await write_standing(connection, account_ref, changed))

    return await _once(postgres, clock, key, request, pb.OverrideStandingResponse, act)


@retried
async def reinstate_account(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.ReinstateAccountRequest
) -> pb.ReinstateAccountResponse:
    """Back to good. Raises AccountNotKnown, StandingFinal."""
    decision = Decision(cleared=True, operator_id=request.operator_id, reason=request.reason)

    async def act(connection: Connection, account_ref: UUID, now: datetime) -> pb.ReinstateAccountResponse:
        record = await store.lock(connection, account_ref)
        rules.check_override(record, Standing.GOOD)
        await cases.close_standing(connection, account_ref, decision, now)
        changed = await standings.reinstate(connection, account_ref, record, decision, now)
        return pb.ReinstateAccountResponse(standing=await write_standing(connection, account_ref, changed))

    return await _once(postgres, clock, key, request, pb.ReinstateAccountResponse, act)


@retried
async def confirm_fraud(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.ConfirmFraudRequest
) -> pb.ConfirmFraudResponse:
    """Forfeits everything unpaid. Raises AccountNotKnown, AccountNotSuspended, FraudNeedsSecond, StandingFinal."""
    decision = Decision(cleared=False, operator_id=request.operator_id, reason=request.reason)

    async def act(connection: Connection, account_ref: UUID, now: datetime) -> pb.ConfirmFraudResponse:
        # Bonuses are locked before a standing, everywhere.
        await moves.deny_open(connection, account_ref, DenialReason.REFERRER_FORFEITED, now)
        record = await store.lock(connection, account_ref)
        rules.check_fraud(record, decision.operator_id)
        await cases.close_standing(connection, account_ref, decision, now)
        after = replace(
            record,
            standing=Standing.FORFEITED,
            reason=rules.FRAUD_CONFIRMED,
            changed_by=decision.operator_id,
            by_hand=True,
        )
        changed = await standings.change(connection, account_ref, record, after, decision.reason, now)
        return pb.ConfirmFraudResponse(standing=await write_standing(connection, account_ref, changed))

    return await _once(postgres, clock, key, request, pb.ConfirmFraudResponse, act)


@retried
async def exempt_account(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.ExemptAccountRequest, until: datetime
) -> pb.ExemptAccountResponse:
    """Lets an account pass the checks until then. Raises AccountNotKnown, ExemptionInvalid."""

    async def act(connection: Connection, account_ref: UUID, now: datetime) -> pb.ExemptAccountResponse:
        rules.check_exemption(until, now)
        await exemptions.save(connection, account_ref, until, request.operator_id, now)
        await _record(connection, "ACCOUNT_EXEMPTED", account_ref, request.operator_id, request.reason, now)
        return pb.ExemptAccountResponse(until=to_timestamp(until))

    return await _once(postgres, clock, key, request, pb.ExemptAccountResponse, act)


@retried
async def end_exemption(
    postgres: Postgres, clock: Clock, key: bytes, request: pb.EndExemptionRequest
) -> pb.EndExemptionResponse:
    """Ends an exemption before its date. Raises AccountNotKnown."""

    async def act(connection: Connection, account_ref: UUID, now: datetime) -> pb.EndExemptionResponse:
        ended = await exemptions.end(connection, account_ref, now)
        if ended:
            await _record(connection, "EXEMPTION_ENDED", account_ref, request.operator_id, request.reason, now)
        return pb.EndExemptionResponse(ended=ended)

    return await _once(postgres, clock, key, request, pb.EndExemptionResponse, act)


async def write_standing(connection: Connection, account_ref: UUID, record: StandingRecord) -> pb.AccountStanding:
    """A standing and what it rests on."""
    tally = await risk.tally(connection, account_ref)
    return pb.AccountStanding(
        account_ref=str(account_ref),
        standing=events_pb2.Standing.Value(f"STANDING_{record.standing.name}"),
        reason=record.reason,
        revision=record.revision,
        referrals=tally.referrals,
        flagged=tally.flagged,
        changed_at=to_timestamp(record.changed_at) if record.changed_at else None,
    )


async def _record(
    connection: Connection, act: str, account_ref: UUID, operator_id: str, reason: str, now: datetime
) -> None:
    await audit.record(
        connection,
        act=act,
        subject=str(account_ref),
        operator_id=operator_id,
        reason=reason,
        account_ref=account_ref,
        now=now,
    )


async def _once(
    postgres: Postgres, clock: Clock, key: bytes, request: _Request, response_type: type[R], act: _Act[R]
) -> R:
    """One change of one account, done once per request id."""
    once = Once(request.request_id, request, response_type, key)
    async with postgres.transaction() as connection:
        if earlier := await once.replay(connection):
            return earlier
        account_ref = await accounts.find(connection, request.account_id)
        if account_ref is None:
            raise rules.AccountNotKnown
        return await once.remember(connection, await act(connection, account_ref, clock.now()))
