"""Forgetting an account, in every service that knows it.

Referral decides that an account is to be forgotten, and says so on `referral.erasures.v1`. Each service has a function

    async def erase(connection: Connection, account_ref: UUID, erased_at: datetime) -> int:
        \"\"\"Deletes what leads from the surrogate to a person; returns how many rows went.\"\"\"

and wires two parts:

    app.consume([…, erasure.subscription(erase, EventLogServiceStub(app.channel("referral")))])
    app.jobs([…, erasure.reporting(postgres, ReferralAdminServiceStub(app.channel("referral")))])

The function runs in the transaction that remembers the erasure and moves the inbox on: it happens once, and again only
together with them. The job reports to referral until referral has answered.

What is immutable keeps the surrogate, and is not touched. A table that holds personal rows (an outside id, a name, an
address) gets a trigger in a migration of its own, because an answer that was on its way may bring a mapping back:

    CREATE TRIGGER accounts_not_erased BEFORE INSERT ON accounts
        FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

Such an insert writes nothing and raises nothing. The account's id may come back as somebody new, with a new surrogate.
A process that keeps mappings in memory looks at `recent` every second or so, and drops its memory when it cannot.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import grpc
from prometheus_client import Counter, Gauge

from libs.inbox import Received, Subscription
from libs.jobs import Job
from libs.postgres import Connection, Postgres
from libs.telemetry import logger
from libs.timestamps import to_datetime
from protos.events.v1.events_pb2_grpc import EventLogServiceStub
from protos.referral.v1.admin_pb2 import ReportErasureRequest
from protos.referral.v1.admin_pb2_grpc import ReferralAdminServiceStub
from protos.referral.v1.events_pb2 import AccountErased

log = logger(__name__)

ERASED = Counter("creator_erased_accounts_total", "Accounts forgotten.", ["service"])
UNREPORTED = Gauge("creator_unreported_erasures", "Accounts forgotten here that referral was not told of.", ["service"])

Erase = Callable[[Connection, UUID, datetime], Awaitable[int]]
"""Deletes what a service knows of the person behind a surrogate; returns how many rows it removed or emptied."""

RECENT: Final = timedelta(minutes=10)

_LOCK: Final = 1163022419
_EVERY: Final = timedelta(seconds=5)
_TIMEOUT_S: Final = 5.0
_PAGE: Final = 200
# By then every process has looked at `recent`.
_MEMORIES_GO_IN: Final = timedelta(seconds=3)
_LATER: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def subscription(erase: Erase, log: EventLogServiceStub) -> Subscription[AccountErased]:
    """What a service listens to, so as to forget whom it is told to forget."""

    async def handle(connection: Connection, events: Sequence[Received[AccountErased]]) -> None:
        for event in sorted(events, key=lambda event: event.message.account_ref):
            await forget(
                connection,
                erase,
                account_ref=UUID(event.message.account_ref),
                erasure_id=UUID(event.message.erasure_id),
                erased_at=to_datetime(event.message.erased_at),
            )
        ERASED.labels(await connection.fetchval("SELECT current_schema()")).inc(len(events))

    return Subscription(AccountErased, handle, log)


async def forget(
    connection: Connection, erase: Erase, *, account_ref: UUID, erasure_id: UUID, erased_at: datetime
) -> int:
    """Erases and remembers that, in the transaction under way; returns how many rows went. Twice is once."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))", _LOCK)
    # A new statement, so that it sees what those who held the lock before have committed.
    rows = await erase(connection, account_ref, erased_at)
    await connection.execute(
        """
        INSERT INTO erased_accounts AS known (account_ref, erasure_id, erased_at, rows) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_ref) DO UPDATE SET rows = known.rows + excluded.rows
        """,
        account_ref,
        erasure_id,
        erased_at,
        rows,
    )
    return rows


async def recent(connection: Connection) -> set[UUID]:
    """Surrogates forgotten within the last ten minutes, in real time."""
    rows = await connection.fetch(
        "SELECT account_ref FROM erased_accounts WHERE recorded_at > clock_timestamp() - $1::interval", RECENT
    )
    return {row["account_ref"] for row in rows}


def reporting(postgres: Postgres, referral: ReferralAdminServiceStub) -> Job:
    """The job that tells referral what was erased here; whatever fails is told again at the next run."""

    async def run(_now: datetime) -> None:
        await report(postgres, referral, older_than=_MEMORIES_GO_IN)

    return Job("report_erasures", _EVERY, run, sweeps=True)


async def report(postgres: Postgres, referral: ReferralAdminServiceStub, *, older_than: timedelta) -> int:
    """Tells referral of everything that was forgotten that long ago and is not reported; returns how many it took."""
    async with postgres.connection() as connection:
        waiting = await connection.fetch(
            """
            SELECT account_ref, erasure_id, rows FROM erased_accounts
            WHERE NOT reported AND recorded_at <= clock_timestamp() - $1::interval ORDER BY recorded_at LIMIT $2
            """,
            older_than,
            _PAGE,
        )
    told: list[UUID] = []
    for row in waiting:
        request = ReportErasureRequest(erasure_id=str(row["erasure_id"]), service=postgres.schema, rows=row["rows"])
        try:
            await referral.ReportErasure(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            log.warning("an erasure is not reported", erasure_id=request.erasure_id, code=error.code().name)
            if error.code() in _LATER:
                break
            continue
        told.append(row["account_ref"])
    UNREPORTED.labels(postgres.schema).set(len(waiting) - len(told))
    if told:
        async with postgres.transaction() as connection:
            await connection.execute(
                "UPDATE erased_accounts SET reported = true WHERE account_ref = ANY ($1::uuid[])", told
            )
    return len(told)
