"""What billing reports, operators end, creators hand out and are told: through real gRPC, and by events."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import grpc
import pytest

from libs import rpc
from libs.inbox import Received
from libs.timestamps import to_timestamp
from protos.distribution.v1 import events_pb2 as distribution_events
from protos.referral.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    events_pb2,
    referral_pb2,
    referral_pb2_grpc,
    share_pb2,
    share_pb2_grpc,
)
from services.referral import consumers
from services.referral.servicer import admin, share
from services.referral.servicer.referral import CALLERS, ReferralServicer
from tests.conftest import Database
from tests.support.bonuses import BONUS, DAY, DOLLAR, Bonuses, bonuses_running
from tests.support.referral import settings

PURCHASE = events_pb2.QUALIFYING_ACTION_KIND_CREDIT_PURCHASE
SETTINGS = settings(SHARE_BASE_URL="https://creators.example/join")


@dataclass
class Doors:
    """Referral's three services, as the gateway and billing call them."""

    mesh: Bonuses
    referral: referral_pb2_grpc.ReferralServiceStub
    admin: admin_pb2_grpc.ReferralAdminServiceStub
    share: share_pb2_grpc.ShareServiceStub

    async def report(self, account_id: str = "referee", paid_micro: int = BONUS, **other: Any) -> Any:
        plain: dict[str, Any] = {
            "account_id": account_id,
            "kind": PURCHASE,
            "action_id": "order-1",
            "paid_micro": paid_micro,
            "occurred_at": to_timestamp(self.mesh.clock.now()),
        }
        return await self.referral.RecordQualifyingAction(referral_pb2.RecordQualifyingActionRequest(**plain | other))

    async def stats(self, account_id: str = "creator") -> referral_pb2.GetReferralStatsResponse:
        request = referral_pb2.GetReferralStatsRequest(account_id=account_id)
        found: referral_pb2.GetReferralStatsResponse = await self.referral.GetReferralStats(request)
        return found


@asynccontextmanager
async def opened(mesh: Bonuses) -> AsyncIterator[Doors]:
    server = rpc.Server("referral", test_mode=True, drain_wait_seconds=0)
    parts = (mesh.commands.postgres, mesh.clock, SETTINGS)
    server.add(
        referral_pb2_grpc.add_ReferralServiceServicer_to_server,
        ReferralServicer(*parts, mesh.replica.budgets),
        "creator.referral.v1.ReferralService",
        CALLERS,
    )
    server.add(
        admin_pb2_grpc.add_ReferralAdminServiceServicer_to_server,
        admin.ReferralAdminServicer(*parts),
        "creator.referral.v1.ReferralAdminService",
        admin.CALLERS,
    )
    server.add(
        share_pb2_grpc.add_ShareServiceServicer_to_server,
        share.ShareServicer(*parts),
        "creator.referral.v1.ShareService",
        share.CALLERS,
    )
    await server.start()
    await server.ready()
    try:
        async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous") as channel:
            yield Doors(
                mesh,
                referral_pb2_grpc.ReferralServiceStub(channel),
                admin_pb2_grpc.ReferralAdminServiceStub(channel),
                share_pb2_grpc.ShareServiceStub(channel),
            )
    finally:
        await server.drain(hasty=True)


@pytest.fixture
async def doors(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    async with bonuses_running(database, monkeypatch) as mesh, opened(mesh) as doors:
        yield doors


async def refusal(call: Awaitable[Any]) -> rpc.Refused:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc.refusal_of(failed.value)


async def test_billing_is_told_what_its_report_earned_with_the_budget_reserved(doors: Doors) -> None:
    mesh = doors.mesh
    await mesh.campaigns.active(BONUS)
    for name in ("referee", "second"):
        await mesh.bind(name)
    first = await doors.report()
    assert (first.outcome, first.bonus_state, first.replayed) == (
        referral_pb2.QUALIFYING_ACTION_OUTCOME_BONUS,
        events_pb2.BONUS_STATE_PENDING,
        False,
    )
    assert await mesh.stands(uuid.UUID(first.bonus_id)) == ("pending", "", "reserved")
    occurred = to_timestamp(mesh.clock.now())
    mesh.clock.advance(timedelta(hours=1))
    again = await doors.report(occurred_at=occurred)
    assert (again.bonus_id, again.replayed) == (first.bonus_id, True)
    exhausted = await doors.report("second", action_id="order-2")
    assert exhausted.bonus_state == events_pb2.BONUS_STATE_DENIED
    small = await doors.report("third", 1, action_id="order-3")
    assert (small.outcome, small.bonus_id) == (referral_pb2.QUALIFYING_ACTION_OUTCOME_ORGANIC, "")


async def test_a_report_is_taken_while_distribution_is_away(doors: Doors) -> None:
    mesh = doors.mesh
    await mesh.campaigns.active(BONUS)
    await mesh.bind("referee")
    mesh.link.away = True
    answer = await doors.report()
    assert answer.bonus_state == events_pb2.BONUS_STATE_PENDING
    mesh.link.heal()
    await mesh.replica.run()
    assert await mesh.stands(uuid.UUID(answer.bonus_id)) == ("pending", "", "reserved")


async def test_a_report_that_cannot_be_is_refused_and_nothing_is_written(doors: Doors) -> None:
    await doors.mesh.bind("referee")
    late = to_timestamp(doors.mesh.clock.now() + timedelta(minutes=6))
    for wrong, reason, field in (
        ({"account_id": ""}, "ACCOUNT_ID_INVALID", "account_id"),
        ({"action_id": ""}, "ACTION_ID_INVALID", "action_id"),
        ({"action_id": "a" * 129}, "ACTION_ID_INVALID", "action_id"),
        ({"action_id": "é"}, "ACTION_ID_INVALID", "action_id"),
        ({"kind": 0}, "ACTION_KIND_INVALID", "kind"),
        ({"kind": 9}, "ACTION_KIND_INVALID", "kind"),
        ({"paid_micro": -1}, "ACTION_AMOUNT_INVALID", "paid_micro"),
        ({"paid_micro": 10**15 + 1}, "ACTION_AMOUNT_INVALID", "paid_micro"),
        ({"occurred_at": None}, "ACTION_TIME_INVALID", "occurred_at"),
        ({"occurred_at": late}, "ACTION_TIME_INVALID", "occurred_at"),
    ):
        refused = await refusal(doors.report(**wrong))
        assert (refused.reason, refused.data["field"]) == (reason, field)
    assert await doors.mesh.commands.rows("SELECT FROM qualifying_actions") == []


async def test_a_share_card_is_the_link_and_its_picture(doors: Doors) -> None:
    code = await doors.mesh.commands.code_of("creator")
    plain = await doors.share.GetShareCard(share_pb2.GetShareCardRequest(account_id="creator"))
    tagged = await doors.share.GetShareCard(share_pb2.GetShareCardRequest(account_id="creator", channel="discord"))
    assert (plain.code, plain.share_url) == (code, f"https://creators.example/join?code={code}")
    assert tagged.share_url == f"https://creators.example/join?code={code}&channel=discord"
    pictures = [ET.fromstring(card.qr_svg) for card in (plain, tagged)]  # noqa: S314 - our own
    assert [picture.tag for picture in pictures] == ["{http://www.w3.org/2000/svg}svg"] * 2
    assert plain.qr_svg != tagged.qr_svg
    nobody = await refusal(doors.share.GetShareCard(share_pb2.GetShareCardRequest(account_id="nobody")))
    assert nobody.reason == "NO_ACTIVE_CODE"
    wrong = share_pb2.GetShareCardRequest(account_id="creator", channel="A b")
    assert (await refusal(doors.share.GetShareCard(wrong))).reason == "CHANNEL_INVALID"


async def test_an_operator_revokes_a_code_for_ever(doors: Doors) -> None:
    code = await doors.mesh.commands.code_of("creator", "goodname1")
    request = admin_pb2.RevokeCodeRequest(
        request_id="r-1", code="GOODNAME1", operator_id="olga", reason="impersonates a partner"
    )
    first = await doors.admin.RevokeCode(request)
    assert (first.code.code, first.code.state) == (code, referral_pb2.CODE_STATE_REVOKED)
    assert await doors.admin.RevokeCode(request) == first
    assert await doors.mesh.commands.try_register("referee", code) == "CODE_REVOKED"
    again = admin_pb2.RevokeCodeRequest(request_id="r-2", code=code, operator_id="olga", reason="again")
    assert (await refusal(doors.admin.RevokeCode(again))).reason == "CODE_ENDED"
    assert await doors.mesh.commands.code_of("creator") != code
    for wrong, reason in (
        ({"code": "nosuchcode"}, "CODE_UNKNOWN"),
        ({"operator_id": ""}, "ACTOR_INVALID"),
        ({"reason": " "}, "ACT_REASON_INVALID"),
        ({"request_id": "r-1"}, "REQUEST_ID_REUSED"),
        ({"request_id": ""}, "REQUEST_ID_INVALID"),
    ):
        plain = {"request_id": "r-3", "code": code, "operator_id": "olga", "reason": "x"}
        refused = await refusal(doors.admin.RevokeCode(admin_pb2.RevokeCodeRequest(**plain | wrong)))
        assert refused.reason == reason
    [row] = (await doors.admin.ListAuditLog(admin_pb2.ListAuditLogRequest())).rows
    assert (row.act, row.operator_id, row.reason) == ("REVOKE_CODE", "olga", "impersonates a partner")


async def test_a_creator_is_told_how_far_its_referees_came_and_what_they_earned(doors: Doors) -> None:
    mesh = doors.mesh
    await mesh.campaigns.active(2 * BONUS)
    refs = [await mesh.bind(f"referee-{number}") for number in range(4)]
    await mesh.commands.resolve("organic")
    for number in range(3):
        await doors.report(f"referee-{number}", action_id=f"order-{number}")
    creator_ref = await mesh.ref("creator")
    await _charges(mesh, creator_ref, [(refs[0], 10, 0), (refs[1], 10, 10), (refs[2], 10, 9)])
    mesh.clock.advance(20 * DAY)
    await _charges(mesh, creator_ref, [(refs[0], 10, 0)] * 3)
    await mesh.replica.run()
    found = await doors.stats()
    assert (found.registered, found.qualified, found.paying, found.active) == (4, 3, 2, 2)
    sums = {events_pb2.BonusState.Name(each.state): (each.count, each.amount_micro) for each in found.bonuses}
    assert sums == {"BONUS_STATE_GRANTED": (2, 2 * BONUS), "BONUS_STATE_DENIED": (1, BONUS)}
    mesh.clock.advance(10 * DAY)
    assert ((await doors.stats()).paying, (await doors.stats()).active) == (2, 1)
    assert await doors.stats("referee-0") == referral_pb2.GetReferralStatsResponse()


async def _charges(mesh: Bonuses, creator_ref: uuid.UUID, paid: Sequence[tuple[uuid.UUID, int, int]]) -> None:
    at = to_timestamp(mesh.clock.now())
    charges = [
        distribution_events.ChargeFinalized(
            payer_ref=str(payer),
            referrer_ref=str(creator_ref),
            revenue_micro=revenue,
            promotional_micro=promotional,
            finalized_at=at,
        )
        for payer, revenue, promotional in paid
    ]
    charges.append(distribution_events.ChargeFinalized(payer_ref=str(uuid.uuid4()), revenue_micro=5, finalized_at=at))
    await _receive(mesh, distribution_events.ChargesFinalized(charges=charges))


async def _receive(mesh: Bonuses, *messages: Any) -> None:
    log: Any = None
    [handler] = [
        each.handler
        for each in consumers.subscriptions(mesh.clock, mesh.terms, log)
        if each.message_type is type(messages[0])
    ]
    events = [Received(n, uuid.uuid4(), mesh.clock.now(), "", message) for n, message in enumerate(messages, 1)]
    async with mesh.commands.postgres.transaction() as connection:
        await handler(connection, events)


async def test_events_of_purchases_earn_and_deny_bonuses(doors: Doors) -> None:
    mesh = doors.mesh
    await mesh.campaigns.active(10 * BONUS)
    refs = {name: str(await mesh.bind(name)) for name in ("kept", "refunded", "small")}

    def changed(name: str, state: int, net_micro: int) -> distribution_events.PaymentChanged:
        return distribution_events.PaymentChanged(
            order_id=f"order of {name}",
            payment_id=f"payment of {name}",
            account_ref=refs[name],
            state=distribution_events.PaymentState.ValueType(state),
            price_micro=20 * DOLLAR,
            net_paid_micro=net_micro,
            changed_at=to_timestamp(mesh.clock.now()),
        )

    state = distribution_events
    await _receive(
        mesh,
        changed("kept", state.PAYMENT_STATE_PARTIALLY_PAID, 10 * DOLLAR),
        changed("kept", state.PAYMENT_STATE_CONFIRMED, 20 * DOLLAR),
        changed("refunded", state.PAYMENT_STATE_CONFIRMED, 20 * DOLLAR),
        changed("small", state.PAYMENT_STATE_CONFIRMED, BONUS - 1),
    )
    await mesh.replica.run()
    await _receive(mesh, changed("refunded", state.PAYMENT_STATE_REFUNDED, 0))
    await mesh.pass_hold()
    await mesh.replica.run()
    assert dict(await mesh.states()) == {"granted": 1, "denied": 1}
    assert await mesh.credits_of("creator") == {"referral:signup": BONUS}
