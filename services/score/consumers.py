"""Door 2, Kafka: whom to forget."""

from datetime import datetime
from uuid import UUID

from libs import erasure
from libs.inbox import Subscription
from libs.postgres import Connection
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.events_pb2 import AccountErased
from services.score.store import accounts


def erasures(log: EventLogServiceStub) -> Subscription[AccountErased]:
    """What an erased account's wallets and ids are dropped by."""
    return erasure.subscription(_erase, log)


async def _erase(connection: Connection, account_ref: UUID, _erased_at: datetime) -> int:
    return await accounts.erase(connection, account_ref)
