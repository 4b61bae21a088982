"""The part of creator.referral.v1.ReferralService that earns bonuses."""

from typing import Final
from uuid import UUID

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime
from protos.referral.v1 import events_pb2, referral_pb2
from services.referral.commands import qualifying
from services.referral.commands.budgets import Budgets
from services.referral.model.bonuses import Action, ActionKind, ActionSource, Bonus, BonusTerms, Budget
from services.referral.rules import accounts as account_rules
from services.referral.rules import bonuses as rules
from services.referral.store import bonuses

_KINDS: Final = {
    events_pb2.QUALIFYING_ACTION_KIND_DNFT_MINT: ActionKind.DNFT_MINT,
    events_pb2.QUALIFYING_ACTION_KIND_CREDIT_PURCHASE: ActionKind.CREDIT_PURCHASE,
}
_NOBODY: Final = UUID(int=0)
_RESERVE_WAIT_SECONDS: Final = 2.0


class Qualifying:
    """Mixed into referral's servicer."""

    _postgres: Postgres
    _clock: Clock
    _terms: BonusTerms
    _budgets: Budgets | None

    async def RecordQualifyingAction(
        self, request: referral_pb2.RecordQualifyingActionRequest, context: Context
    ) -> referral_pb2.RecordQualifyingActionResponse:
        account_id = account_rules.check_account_id(request.account_id)
        recorded = await qualifying.record_action(
            self._postgres, self._clock, self._terms, account_id, _action(request)
        )
        answer = referral_pb2.RecordQualifyingActionResponse(
            outcome=referral_pb2.QualifyingActionOutcome.Value(f"QUALIFYING_ACTION_OUTCOME_{recorded.outcome.name}"),
            replayed=recorded.replayed,
        )
        if recorded.bonus is not None:
            bonus = await self._with_budget(recorded.bonus)
            answer.bonus_id = str(bonus.bonus_id)
            answer.bonus_state = events_pb2.BonusState.Value(f"BONUS_STATE_{bonus.state.name}")
        return answer

    async def _with_budget(self, bonus: Bonus) -> Bonus:
        """The bonus after distribution was asked for its budget; where it does not answer a job asks again."""
        if bonus.budget is not Budget.ASKED or self._budgets is None:
            return bonus
        await self._budgets.reserve(bonus, wait_seconds=_RESERVE_WAIT_SECONDS)
        async with self._postgres.connection() as connection:
            return await bonuses.find(connection, bonus.bonus_id) or bonus


def _action(request: referral_pb2.RecordQualifyingActionRequest) -> Action:
    kind = _KINDS.get(request.kind)
    if kind is None:
        raise rules.ActionKindInvalid(field="kind")
    if not request.HasField("occurred_at"):
        raise rules.ActionTimeInvalid(field="occurred_at")
    return Action(
        ActionSource.BILLING,
        kind,
        rules.check_action_id(request.action_id),
        _NOBODY,
        rules.check_paid(request.paid_micro),
        to_datetime(request.occurred_at, field="occurred_at"),
    )
