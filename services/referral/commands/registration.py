"""First touch: a referee is bound to the owner of a code, once and for ever."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from libs import outbox
from libs.clock import Clock
from libs.postgres import Connection, Postgres, retried
from libs.refusals import Refusal
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2
from services.referral import metrics
from services.referral.commands import risk
from services.referral.commands.codes import ended_by_time
from services.referral.model import Code, Facts, Kind, Limits, Registered, Registration, SignUp, Standing
from services.referral.model.risk import Key
from services.referral.rules import codes as code_rules
from services.referral.rules import registration as registration_rules
from services.referral.store import accounts, codes, registrations


@retried
async def register(
    postgres: Postgres, clock: Clock, limits: Limits, sign_up: SignUp, keys: Sequence[Key] = ()
) -> Registered:
    """Binds the referee, or says that it is bound already; raises what `registration_rules.check_registration` raises.

    `keys` are those of the hashes that are kept of what the request looked like, the current one first.

    The line in the attribution log is committed whatever comes of the attempt, which is why a refusal is raised only
    after the transaction.
    """
    async with postgres.transaction() as connection:
        answer = await _attempt(connection, clock, limits, sign_up, keys)
    metrics.registered(answer)
    if isinstance(answer, Refusal):
        raise answer
    return answer


async def _attempt(
    connection: Connection, clock: Clock, limits: Limits, sign_up: SignUp, keys: Sequence[Key]
) -> Registered | Refusal:
    referee_ref = await accounts.lock(connection, sign_up.account_id)
    binding = await registrations.find(connection, referee_ref)
    code: Code | None = None
    if binding is not None and binding.kind is Kind.REFERRED:
        now = clock.now()
        answer: Registered | Refusal = Registered(already_bound=True, registered_at=binding.created_at)
    else:
        # Under the lock of the code its limits hold to the last binding; the time is read after the wait for it.
        code = await codes.lock(connection, code_rules.typed_code(sign_up.code))
        now = clock.now()
        facts = await _facts(connection, limits, referee_ref, binding, code, now)
        answer = await _decide(connection, limits, sign_up, facts, keys, now)
    await registrations.insert_attempt(connection, registration_rules.attempt(sign_up, referee_ref, code, answer, now))
    return answer


async def _facts(
    connection: Connection,
    limits: Limits,
    referee_ref: UUID,
    binding: Registration | None,
    code: Code | None,
    now: datetime,
) -> Facts:
    if code is None:
        return Facts(referee_ref, binding, None, Standing.GOOD, 0)
    since = registration_rules.velocity_since(now, limits)
    around = await registrations.circumstances(connection, referee_ref, code.code_ref, code.owner_ref, since)
    ended = await ended_by_time(connection, code, now)
    return Facts(referee_ref, binding, ended, around.standing, around.recent, around.shared)


async def _decide(
    connection: Connection, limits: Limits, sign_up: SignUp, facts: Facts, keys: Sequence[Key], now: datetime
) -> Registered | Refusal:
    """Binds, or returns the refusal; nothing is written before the last chance to refuse."""
    try:
        code = registration_rules.check_registration(facts, sign_up.account_created_at, now=now, limits=limits)
    except Refusal as refusal:
        return refusal
    registration = registration_rules.registration(facts.referee_ref, code, sign_up.channel, now)
    if not await registrations.insert(connection, registration):
        # The account's lock keeps other registrations out: it was its first charge that came in between.
        return registration_rules.LockedOrganic()
    await codes.save(connection, code_rules.used(code, now))
    await outbox.append(connection, _event(registration), key=str(code.owner_ref), occurred_at=now)
    await risk.look_at_new(connection, registration, sign_up.client, keys, now)
    return Registered(already_bound=False, registered_at=now)


def _event(registration: Registration) -> events_pb2.Registration:
    return events_pb2.Registration(
        account_ref=str(registration.referee_ref),
        referrer_ref=str(registration.referrer_ref),
        code_ref=str(registration.code_ref),
        registered_at=to_timestamp(registration.created_at),
        channel=registration.channel or "",
    )
