"""The desk of those who look after risk: the real admin's door over loopback, and sign-ups that look like something."""

import itertools
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from libs import rpc
from libs.clock import ManualClock
from libs.timestamps import to_timestamp
from protos.referral.v1 import admin_pb2 as pb
from protos.referral.v1 import admin_pb2_grpc, events_pb2
from services.referral.commands import addresses, registration, review, risk
from services.referral.model import Limits, Registered, SignUp
from services.referral.model.risk import AccountAddress, AddressKind, Client, Key
from services.referral.rules.signals import key_of
from services.referral.servicer import admin
from tests.support.referral import Referral, settings

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SERVICE = "creator.referral.v1.ReferralAdminService"

OPEN, CLEARED, CONFIRMED = pb.REVIEW_CASE_STATE_OPEN, pb.REVIEW_CASE_STATE_CLEARED, pb.REVIEW_CASE_STATE_CONFIRMED
CLEAR, CONFIRM = pb.REVIEW_DECISION_CLEAR, pb.REVIEW_DECISION_CONFIRM


class Desk:
    """Sign-ups from outside, decisions from inside."""

    def __init__(self, referral: Referral, stub: admin_pb2_grpc.ReferralAdminServiceStub) -> None:
        self.referral = referral
        self.stub = stub
        self.keys: tuple[Key, ...] = (key_of("the first key"),)
        self._numbers = itertools.count(1)
        referral.limits = Limits(bindings_per_code=10_000)

    @property
    def clock(self) -> ManualClock:
        return self.referral.clock

    async def sign_up(self, account_id: str, referrer: str = "creator", **client: str) -> Registered:
        """Binds through the referrer's code, from an address of its own unless one is given."""
        number = next(self._numbers)
        seen = Client(**{"ip_address": f"10.{number >> 8}.{number % 256}.1"} | client)
        code = await self.referral.code_of(referrer)
        sign_up = SignUp(account_id, code, self.clock.now(), client=seen)
        return await registration.register(self.referral.postgres, self.clock, self.referral.limits, sign_up, self.keys)

    async def farm(self, *account_ids: str, referrer: str = "creator") -> None:
        """Sign-ups of one machine: all but the first are flagged at once, the first one when its week is over."""
        for account_id in account_ids:
            await self.sign_up(
                account_id, referrer, ip_address=f"198.51.{len(referrer)}.1", fingerprint=f"machine of {referrer}"
            )

    async def crowd(self, prefix: str, count: int, referrer: str = "creator") -> None:
        """Sign-ups that have nothing in common."""
        for number in range(count):
            await self.sign_up(f"{prefix}{number}", referrer)

    async def ref(self, account_id: str) -> UUID:
        return UUID(await self.referral.ref(account_id))

    async def takes(
        self,
        account_id: str,
        address: int,
        kind: AddressKind = AddressKind.WALLET,
        *shared_with: str,
        active: bool = True,
    ) -> None:
        """What an event of score or payout does."""
        told = AccountAddress(
            await self.ref(account_id),
            kind,
            UUID(int=address),
            active,
            self.clock.now(),
            tuple([await self.ref(each) for each in shared_with]),
        )
        async with self.referral.postgres.transaction() as connection:
            await addresses.take_addresses(connection, [told], self.clock.now())

    async def rescore(self) -> None:
        await risk.rescore_all(self.referral.postgres, self.clock, self.clock.now())

    async def escalate(self) -> int:
        return await review.escalate_all(self.referral.postgres, self.clock.now())

    async def cases(self, **wanted: Any) -> list[pb.ReviewCase]:
        return list((await self.stub.ListReviewCases(pb.ListReviewCasesRequest(**wanted))).cases)

    async def case_of(self, account_id: str, **wanted: Any) -> pb.ReviewCase:
        """The one case of a referee."""
        account_ref = str(await self.ref(account_id))
        [case] = [case for case in await self.cases(page_size=200, **wanted) if case.referee_ref == account_ref]
        return case

    async def decide(
        self, case_id: str, decision: Any, operator_id: str = "olga", request_id: str = ""
    ) -> pb.ReviewCase:
        request = pb.DecideReviewCaseRequest(
            request_id=request_id or self.new_id(),
            case_id=case_id,
            decision=decision,
            operator_id=operator_id,
            reason="Looked at it.",
        )
        return (await self.stub.DecideReviewCase(request)).case

    async def stands(self, account_id: str) -> tuple[str, int]:
        """Standing and revision."""
        rows = await self.referral.rows(
            "SELECT standing, revision FROM standings WHERE account_ref = $1", await self.ref(account_id)
        )
        return (rows[0]["standing"], rows[0]["revision"]) if rows else ("good", 0)

    def order(self, account_id: str, operator_id: str = "olga", **more: Any) -> dict[str, Any]:
        """What every order upon an account says."""
        return {
            "request_id": self.new_id(),
            "account_id": account_id,
            "operator_id": operator_id,
            "reason": "For a reason.",
        } | more

    async def suspend(self, account_id: str, operator_id: str = "olga") -> pb.AccountStanding:
        request = pb.OverrideStandingRequest(
            **self.order(account_id, operator_id), standing=events_pb2.STANDING_SUSPENDED
        )
        return (await self.stub.OverrideStanding(request)).standing

    async def exempt(self, account_id: str, lasts: timedelta) -> None:
        until = to_timestamp(self.clock.now() + lasts)
        await self.stub.ExemptAccount(pb.ExemptAccountRequest(**self.order(account_id), until=until))

    def new_id(self) -> str:
        return f"request-{next(self._numbers)}"

    async def acts(self) -> list[str]:
        return [row["act"] for row in await self.referral.rows("SELECT act FROM audit_log ORDER BY sequence")]

    async def told(self, account_id: str) -> list[tuple[str, str, int]]:
        """Standings of an account as the others were told, in order."""
        rows = await self.referral.rows(
            "SELECT payload FROM outbox WHERE topic = 'referral.standing.v1' AND key = $1 ORDER BY id",
            str(await self.ref(account_id)),
        )
        events = [events_pb2.StandingChanged.FromString(row["payload"]) for row in rows]
        return [
            (events_pb2.Standing.Name(each.standing).removeprefix("STANDING_"), each.reason, each.revision)
            for each in events
        ]


async def refused(call: Awaitable[Any]) -> str:
    """The reason of the refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc.refusal_of(failed.value).reason


@asynccontextmanager
async def desk_at(referral: Referral, caller: str = "gateway") -> AsyncIterator[Desk]:
    server = rpc.Server("referral", test_mode=True, drain_wait_seconds=0, drain_grace_seconds=0)
    server.add(
        admin_pb2_grpc.add_ReferralAdminServiceServicer_to_server,
        admin.ReferralAdminServicer(referral.postgres, referral.clock, settings()),
        SERVICE,
        admin.CALLERS,
    )
    await server.start()
    try:
        async with rpc.channel(f"127.0.0.1:{server.port}", caller=caller) as channel:
            yield Desk(referral, admin_pb2_grpc.ReferralAdminServiceStub(channel))
    finally:
        await server.drain()
