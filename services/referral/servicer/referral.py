"""creator.referral.v1.ReferralService: codes, registrations, attribution."""

from typing import Final
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Connection, Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.referral.v1 import events_pb2, referral_pb2, referral_pb2_grpc
from services.referral.commands import attribution, codes, registration
from services.referral.commands.budgets import Budgets
from services.referral.model import Attribution, SignUp, StandingRecord
from services.referral.model.risk import Client
from services.referral.rules import accounts as account_rules
from services.referral.rules import codes as code_rules
from services.referral.rules import registration as registration_rules
from services.referral.servicer.messages import write_code
from services.referral.servicer.qualifying import Qualifying
from services.referral.settings import Settings
from services.referral.store import accounts, activity, bonuses, registrations, standings

_GATEWAY: Final = frozenset({"gateway"})
_SERVICES: Final = frozenset({"distribution", "payout", "score", "leaderboard"})

CALLERS: Final = {
    "CreateCode": _GATEWAY,
    "GetCode": _GATEWAY,
    "Register": _GATEWAY,
    "GetReferralStats": _GATEWAY,
    "GetStanding": frozenset({"gateway", "distribution", "payout"}),
    "ResolveAttribution": _SERVICES,
    "ResolveAccounts": _SERVICES,
    "RecordQualifyingAction": frozenset({"billing"}),
}
"""Who may call what, by the name in the caller's certificate."""

QUIET: Final = frozenset({"ResolveAttribution", "ResolveAccounts"})
"""On the way of charges: no log line each."""


class ReferralServicer(Qualifying, referral_pb2_grpc.ReferralServiceServicer):
    """creator.referral.v1.ReferralService."""

    def __init__(self, postgres: Postgres, clock: Clock, settings: Settings, budgets: Budgets | None = None) -> None:
        """Without `budgets` those of new bonuses are reserved by the job alone."""
        self._postgres = postgres
        self._clock = clock
        self._budgets = budgets
        self._limits = settings.limits
        self._keys = settings.risk_keys
        self._terms = settings.bonus_terms
        self._active = settings.active_referee
        self._window_months = settings.attribution_window_months

    async def CreateCode(
        self, request: referral_pb2.CreateCodeRequest, context: Context
    ) -> referral_pb2.CreateCodeResponse:
        account_id = account_rules.check_account_id(request.account_id)
        expires_at = to_datetime(request.expires_at, field="expires_at") if request.HasField("expires_at") else None
        wish = code_rules.check_wish(request.vanity_code, expires_at, request.max_uses)
        code, created = await codes.create_code(self._postgres, self._clock, account_id, wish)
        return referral_pb2.CreateCodeResponse(code=write_code(code), created=created)

    async def GetCode(self, request: referral_pb2.GetCodeRequest, context: Context) -> referral_pb2.GetCodeResponse:
        account_id = account_rules.check_account_id(request.account_id)
        return referral_pb2.GetCodeResponse(
            code=write_code(await codes.get_code(self._postgres, self._clock, account_id))
        )

    async def Register(self, request: referral_pb2.RegisterRequest, context: Context) -> referral_pb2.RegisterResponse:
        created = request.account_created_at if request.HasField("account_created_at") else None
        sign_up = SignUp(
            account_id=account_rules.check_account_id(request.account_id),
            code=request.code,
            account_created_at=to_datetime(created, field="account_created_at") if created else None,
            channel=registration_rules.check_channel(request.channel),
            client=Client(request.client.ip_address, request.client.user_agent, request.client.fingerprint),
        )
        registered = await registration.register(self._postgres, self._clock, self._limits, sign_up, self._keys)
        return referral_pb2.RegisterResponse(
            already_bound=registered.already_bound, registered_at=to_timestamp(registered.registered_at)
        )

    async def ResolveAttribution(
        self, request: referral_pb2.ResolveAttributionRequest, context: Context
    ) -> referral_pb2.ResolveAttributionResponse:
        account_ids = account_rules.check_account_ids(request.account_ids)
        found = await attribution.resolve_attribution(self._postgres, self._clock, account_ids)
        return referral_pb2.ResolveAttributionResponse(attributions=[_attribution(each) for each in found])

    async def ResolveAccounts(
        self, request: referral_pb2.ResolveAccountsRequest, context: Context
    ) -> referral_pb2.ResolveAccountsResponse:
        account_ids = account_rules.check_account_ids(request.account_ids)
        refs = await attribution.resolve_accounts(self._postgres, account_ids, existing_only=request.existing_only)
        return referral_pb2.ResolveAccountsResponse(
            accounts=[
                referral_pb2.AccountRef(account_id=account_id, account_ref=str(account_ref))
                for account_id, account_ref in refs.items()
            ]
        )

    async def GetReferralStats(
        self, request: referral_pb2.GetReferralStatsRequest, context: Context
    ) -> referral_pb2.GetReferralStatsResponse:
        account_id = account_rules.check_account_id(request.account_id)
        async with self._postgres.connection() as connection:
            account_ref = await accounts.find(connection, account_id)
            if account_ref is None:
                return referral_pb2.GetReferralStatsResponse()
            return await self._stats(connection, account_ref)

    async def _stats(self, connection: Connection, account_ref: UUID) -> referral_pb2.GetReferralStatsResponse:
        now = self._clock.now()
        referees = await registrations.count_referees(connection, account_ref, now, months=self._window_months)
        sums = await bonuses.sums(connection, account_ref)
        paying, active = await activity.count(connection, account_ref, now, self._active)
        return referral_pb2.GetReferralStatsResponse(
            registered=referees.registered,
            qualified=sum(count for _, count, _ in sums),
            paying=paying,
            active=active,
            window_ended=referees.window_ended,
            bonuses=[
                referral_pb2.BonusCount(
                    state=events_pb2.BonusState.Value(f"BONUS_STATE_{state.name}"), count=count, amount_micro=micro
                )
                for state, count, micro in sums
            ],
        )

    async def GetStanding(
        self, request: referral_pb2.GetStandingRequest, context: Context
    ) -> referral_pb2.GetStandingResponse:
        account_id = account_rules.check_account_id(request.account_id)
        async with self._postgres.connection() as connection:
            return _standing(*await standings.of_account(connection, account_id))


def _attribution(found: Attribution) -> referral_pb2.Attribution:
    return referral_pb2.Attribution(
        account_id=found.account_id,
        account_ref=str(found.account_ref),
        referrer_ref=str(found.referrer_ref or ""),
        registered_at=to_timestamp(found.registered_at),
    )


def _standing(account_ref: UUID | None, record: StandingRecord) -> referral_pb2.GetStandingResponse:
    return referral_pb2.GetStandingResponse(
        standing=events_pb2.Standing.Value(f"STANDING_{record.standing.name}"),
        reason=record.reason,
        revision=record.revision,
        account_ref=str(account_ref or ""),
    )
