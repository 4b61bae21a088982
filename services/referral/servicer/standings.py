"""The standings' part of creator.referral.v1.ReferralAdminService, and what is known of an account."""

from typing import Final

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from protos.referral.v1 import events_pb2
from services.referral.commands import orders
from services.referral.model import Kind, Standing
from services.referral.model.lookup import Known
from services.referral.rules import accounts as account_rules
from services.referral.rules import operators
from services.referral.rules import standings as rules
from services.referral.servicer.messages import write_code
from services.referral.settings import Settings
from services.referral.store import lookup

_STANDINGS: Final = {events_pb2.Standing.Value(f"STANDING_{standing.name}"): standing for standing in Standing}

_Ordered = (
    pb.OverrideStandingRequest
    | pb.ReinstateAccountRequest
    | pb.ConfirmFraudRequest
    | pb.ExemptAccountRequest
    | pb.EndExemptionRequest
)


class Standings:
    """Mixed into the admin's servicer."""

    _postgres: Postgres
    _clock: Clock
    _settings: Settings

    async def OverrideStanding(
        self, request: pb.OverrideStandingRequest, context: Context
    ) -> pb.OverrideStandingResponse:
        _check(request)
        standing = _STANDINGS.get(request.standing)
        if standing is None or standing is Standing.FORFEITED:
            raise rules.StandingInvalid(field="standing")
        return await orders.override_standing(
            self._postgres, self._clock, self._settings.request_key, request, standing
        )

    async def ReinstateAccount(
        self, request: pb.ReinstateAccountRequest, context: Context
    ) -> pb.ReinstateAccountResponse:
        _check(request)
        return await orders.reinstate_account(self._postgres, self._clock, self._settings.request_key, request)

    async def ConfirmFraud(self, request: pb.ConfirmFraudRequest, context: Context) -> pb.ConfirmFraudResponse:
        _check(request)
        return await orders.confirm_fraud(self._postgres, self._clock, self._settings.request_key, request)

    async def ExemptAccount(self, request: pb.ExemptAccountRequest, context: Context) -> pb.ExemptAccountResponse:
        _check(request)
        if not request.HasField("until"):
            raise rules.ExemptionInvalid(field="until")
        until = to_datetime(request.until, field="until")
        return await orders.exempt_account(self._postgres, self._clock, self._settings.request_key, request, until)

    async def EndExemption(self, request: pb.EndExemptionRequest, context: Context) -> pb.EndExemptionResponse:
        _check(request)
        return await orders.end_exemption(self._postgres, self._clock, self._settings.request_key, request)

    async def LookUpAccount(self, request: pb.LookUpAccountRequest, context: Context) -> pb.LookUpAccountResponse:
        async with self._postgres.transaction(readonly=True) as connection:
            if request.WhichOneof("key") == "account_ref":
                account_ref = account_rules.check_account_ref(request.account_ref)
                known = await lookup.by_ref(connection, account_ref, self._clock.now())
            else:
                account_id = account_rules.check_account_id(request.account_id)
                known = await lookup.by_id(connection, account_id, self._clock.now())
        if known is None:
            raise rules.AccountNotKnown
        return _write(known)


def _check(request: _Ordered) -> None:
    account_rules.check_account_id(request.account_id)
    operators.check_operator(request.operator_id)
    operators.check_reason(request.reason)


def _write(known: Known) -> pb.LookUpAccountResponse:
    decided = known.registration
    return pb.LookUpAccountResponse(
        account_id=known.account_id,
        account_ref=str(known.account_ref),
        registered_at=to_timestamp(decided.created_at) if decided else None,
        referred=decided is not None and decided.kind is Kind.REFERRED,
        codes=[write_code(code) for code in known.codes],
        standing=events_pb2.Standing.Value(f"STANDING_{known.standing.name}"),
        referrals=known.tally.referrals,
        flagged=known.tally.flagged,
        exempt_until=to_timestamp(known.exempt_until) if known.exempt_until else None,
    )
