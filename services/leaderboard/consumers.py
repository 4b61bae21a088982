"""Door 2, Kafka: decode, command."""

from collections.abc import Sequence
from uuid import UUID

from libs.inbox import Received, Subscription
from libs.postgres import Connection
from libs.timestamps import to_datetime
from protos.distribution.v1.events_pb2 import ChargeFinalized, ChargesFinalized
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import Registration
from services.leaderboard import rules
from services.leaderboard.commands import applying
from services.leaderboard.model import Earned, Referred


def subscriptions(
    referral: EventLogServiceStub, distribution: EventLogServiceStub
) -> tuple[Subscription[Registration], Subscription[ChargesFinalized]]:
    """What leaderboard listens to, and whom it asks for what it missed."""
    return (
        Subscription(Registration, registrations, referral),
        Subscription(ChargesFinalized, charges, distribution),
    )


async def registrations(connection: Connection, events: Sequence[Received[Registration]]) -> None:
    """An organic registration counts for nobody."""
    await applying.referrals(connection, [_referred(event.message) for event in events if event.message.referrer_ref])


async def charges(connection: Connection, events: Sequence[Received[ChargesFinalized]]) -> None:
    """A charge without a share for its referrer counts for nobody."""
    earned = [_earned(charge) for event in events for charge in event.message.charges if charge.referrer_micro]
    await applying.shares(connection, earned)


def _referred(registration: Registration) -> Referred:
    return Referred(UUID(registration.referrer_ref), to_datetime(registration.registered_at))


def _earned(charge: ChargeFinalized) -> Earned:
    breakdown = [(share.model, share.amount_micro) for share in charge.model_breakdown]
    return Earned(
        referrer_ref=UUID(charge.referrer_ref),
        finalized_at=to_datetime(charge.finalized_at),
        earned_micro=charge.referrer_micro,
        model=charge.model,
        parts=rules.parts_of(charge.referrer_micro, charge.model, breakdown),
    )
