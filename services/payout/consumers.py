"""Door 2, Kafka: who is paid nothing for now, and whom to forget."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs import erasure
from libs.clock import Clock
from libs.inbox import Received, Subscription
from libs.postgres import Connection
from libs.timestamps import to_datetime
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import AccountErased, StandingChanged
from services.payout.commands import standing
from services.payout.store import accounts


def standings(log: EventLogServiceStub, clock: Clock) -> Subscription[StandingChanged]:
    """What ends the payouts of a suspended creator that the provider does not have."""

    async def handle(connection: Connection, events: Sequence[Received[StandingChanged]]) -> None:
        for event in events:
            told = event.message
            await standing.apply(
                connection,
                clock,
                UUID(told.account_ref),
                told.standing,
                told.revision,
                to_datetime(told.changed_at),
            )

    return Subscription(StandingChanged, handle, log)


def erasures(log: EventLogServiceStub) -> Subscription[AccountErased]:
    """What an erased account's id, addresses and quotes are dropped by."""
    return erasure.subscription(_erase, log)


async def _erase(connection: Connection, account_ref: UUID, _erased_at: datetime) -> int:
    return await accounts.erase(connection, account_ref)
