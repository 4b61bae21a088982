"""Referral through real gRPC: answers, reasons, and who may ask."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

from libs import rpc
from libs.refusals import Code
from libs.timestamps import to_timestamp
from protos.referral.v1 import events_pb2, referral_pb2, referral_pb2_grpc
from services.referral.servicer.referral import CALLERS, ReferralServicer
from tests.conftest import Database
from tests.support.referral import START, Referral, opened, settings

Stub = referral_pb2_grpc.ReferralServiceStub
As = Callable[[str], Stub]


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        yield referral


@asynccontextmanager
async def served(referral: Referral) -> AsyncIterator[str]:
    server = rpc.Server("referral", test_mode=True, drain_wait_seconds=0, drain_grace_seconds=0)
    servicer = ReferralServicer(referral.postgres, referral.clock, settings())
    add = referral_pb2_grpc.add_ReferralServiceServicer_to_server
    server.add(add, servicer, "creator.referral.v1.ReferralService", CALLERS)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.drain()


@pytest.fixture
async def caller(referral: Referral) -> AsyncIterator[As]:
    """`caller("gateway")` is a stub that calls as the gateway."""
    channels = []
    async with served(referral) as address:

        def stub(name: str) -> Stub:
            channels.append(rpc.channel(address, caller=name))
            return Stub(channels[-1])

        yield stub
        for channel in channels:
            await channel.close()


async def refusal(call: Awaitable[Any]) -> rpc.Refused:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc.refusal_of(failed.value)


def register_request(account_id: str, code: str, **more: Any) -> referral_pb2.RegisterRequest:
    created = to_timestamp(START - timedelta(hours=1))
    return referral_pb2.RegisterRequest(account_id=account_id, code=code, **{"account_created_at": created} | more)


async def test_from_a_code_to_a_binding(caller: As) -> None:
    gateway, distribution = caller("gateway"), caller("distribution")
    expires = to_timestamp(START + timedelta(days=30))
    made = await gateway.CreateCode(
        referral_pb2.CreateCodeRequest(account_id="creator", vanity_code="GoodName", expires_at=expires, max_uses=2)
    )
    assert made == referral_pb2.CreateCodeResponse(
        code=referral_pb2.ReferralCode(
            code="goodname",
            state=referral_pb2.CODE_STATE_ACTIVE,
            max_uses=2,
            created_at=to_timestamp(START),
            expires_at=expires,
        ),
        created=True,
    )
    again = await gateway.CreateCode(referral_pb2.CreateCodeRequest(account_id="creator"))
    assert (again.code, again.created) == (made.code, False)
    request = register_request("referee", "GOODNAME", channel="discord")
    answers = [await gateway.Register(request) for _ in range(2)]
    bound_at = to_timestamp(START)
    assert answers == [
        referral_pb2.RegisterResponse(already_bound=False, registered_at=bound_at),
        referral_pb2.RegisterResponse(already_bound=True, registered_at=bound_at),
    ]
    code = (await gateway.GetCode(referral_pb2.GetCodeRequest(account_id="creator"))).code
    assert code.uses == 1
    resolve = referral_pb2.ResolveAttributionRequest(account_ids=["referee", "creator", "referee"])
    referee, creator = (await distribution.ResolveAttribution(resolve)).attributions
    assert (referee.account_id, referee.referrer_ref, referee.registered_at) == (
        "referee",
        creator.account_ref,
        bound_at,
    )
    assert (creator.account_id, creator.referrer_ref) == ("creator", "")


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (register_request("", "x"), Code.INVALID_ARGUMENT, "ACCOUNT_ID_INVALID", "account_id"),
        (register_request("a", "x", channel="A!"), Code.INVALID_ARGUMENT, "CHANNEL_INVALID", "channel"),
        (register_request("a", "nosuchcode"), Code.NOT_FOUND, "CODE_UNKNOWN", None),
        (register_request("a", "a\0"), Code.NOT_FOUND, "CODE_UNKNOWN", None),
        (register_request("creator", "creatorscode"), Code.FAILED_PRECONDITION, "SELF_REFERRAL", None),
        (
            register_request("a", "creatorscode", account_created_at=None),
            Code.FAILED_PRECONDITION,
            "ACCOUNT_AGE_UNKNOWN",
            None,
        ),
        (
            register_request("a", "creatorscode", account_created_at=to_timestamp(START - timedelta(days=2))),
            Code.FAILED_PRECONDITION,
            "ACCOUNT_TOO_OLD",
            None,
        ),
        (
            register_request("a", "creatorscode", account_created_at=to_timestamp(START + timedelta(days=2))),
            Code.FAILED_PRECONDITION,
            "ACCOUNT_AGE_INVALID",
            None,
        ),
    ],
)
async def test_a_refused_registration_says_why(
    referral: Referral, caller: As, request_: referral_pb2.RegisterRequest, code: Code, reason: str, field: str | None
) -> None:
    await referral.code_of("creator", "creatorscode")
    refused = await refusal(caller("gateway").Register(request_))
    assert (refused.code, refused.reason, refused.data.get("field")) == (code, reason, field)


async def test_a_refused_code_says_why(caller: As) -> None:
    gateway = caller("gateway")

    async def reason(**fields: Any) -> str:
        request = referral_pb2.CreateCodeRequest(**{"account_id": "creator"} | fields)
        return (await refusal(gateway.CreateCode(request))).reason

    assert await reason(vanity_code="short") == "VANITY_CODE_INVALID"
    assert await reason(vanity_code="admin2026") == "VANITY_CODE_RESERVED"
    assert await reason(max_uses=-1) == "CODE_MAX_USES_INVALID"
    assert await reason(expires_at=to_timestamp(START)) == "CODE_EXPIRY_INVALID"
    assert (
        await refusal(gateway.GetCode(referral_pb2.GetCodeRequest(account_id="creator")))
    ).reason == "NO_ACTIVE_CODE"
    await gateway.CreateCode(referral_pb2.CreateCodeRequest(account_id="another", vanity_code="goodname"))
    assert await reason(vanity_code="goodname") == "CODE_TAKEN"
    assert await reason(account_id="another", vanity_code="bettername") == "ACTIVE_CODE_EXISTS"


async def test_a_bad_id_in_a_batch_is_named_by_its_place(caller: As) -> None:
    request = referral_pb2.ResolveAttributionRequest(account_ids=["fine", "a" * 129])
    refused = await refusal(caller("distribution").ResolveAttribution(request))
    assert (refused.code, refused.data) == (Code.INVALID_ARGUMENT, {"field": "account_ids[1]"})
    too_many = referral_pb2.ResolveAccountsRequest(account_ids=["a"] * 501)
    assert (await refusal(caller("score").ResolveAccounts(too_many))).reason == "TOO_MANY_ACCOUNTS"


async def test_surrogates_are_made_only_where_that_is_asked(caller: As) -> None:
    score = caller("score")
    none = await score.ResolveAccounts(referral_pb2.ResolveAccountsRequest(account_ids=["a"], existing_only=True))
    made = await score.ResolveAccounts(referral_pb2.ResolveAccountsRequest(account_ids=["b", "a", "b"]))
    found = await score.ResolveAccounts(referral_pb2.ResolveAccountsRequest(account_ids=["a", "c"], existing_only=True))
    assert list(none.accounts) == []
    assert [each.account_id for each in made.accounts] == ["b", "a"]
    assert list(found.accounts) == [made.accounts[1]]


async def test_nobody_calls_what_is_not_theirs(caller: As) -> None:
    account_ids = ["a"]
    refusals = [
        await refusal(
            caller("gateway").ResolveAttribution(referral_pb2.ResolveAttributionRequest(account_ids=account_ids))
        ),
        await refusal(caller("leaderboard").Register(register_request("a", "x"))),
        await refusal(caller("score").RecordQualifyingAction(referral_pb2.RecordQualifyingActionRequest())),
    ]
    assert {each.code for each in refusals} == {Code.PERMISSION_DENIED}


async def test_a_creator_is_told_totals_that_are_exact(referral: Referral, caller: As) -> None:
    gateway = caller("gateway")
    stats = referral_pb2.GetReferralStatsRequest(account_id="creator")
    assert await gateway.GetReferralStats(stats) == referral_pb2.GetReferralStatsResponse()
    code = await referral.code_of("creator")
    for number in range(3):
        await referral.register(f"referee-{number}", code)
        referral.clock.advance(timedelta(days=1))
    await referral.resolve("organic")
    assert await gateway.GetReferralStats(stats) == referral_pb2.GetReferralStatsResponse(registered=3)
    # 1 March 2026 12:00 + 12 months is 1 March 2027 12:00: the first window is over at that instant.
    referral.clock.advance(START.replace(year=2027) - referral.clock.now() - timedelta(microseconds=1))
    assert (await gateway.GetReferralStats(stats)).window_ended == 0
    referral.clock.advance(timedelta(microseconds=1))
    assert (await gateway.GetReferralStats(stats)).window_ended == 1


async def test_standing_is_good_until_somebody_says_otherwise(referral: Referral, caller: As) -> None:
    payout, request = caller("payout"), referral_pb2.GetStandingRequest(account_id="creator")
    assert await payout.GetStanding(request) == referral_pb2.GetStandingResponse(standing=events_pb2.STANDING_GOOD)
    await referral.execute(
        "INSERT INTO standings SELECT $1, 'suspended', 'FLAGGED_SHARE', 3, $2", await referral.ref("creator"), START
    )
    assert await payout.GetStanding(request) == referral_pb2.GetStandingResponse(
        standing=events_pb2.STANDING_SUSPENDED,
        reason="FLAGGED_SHARE",
        revision=3,
        account_ref=str(await referral.ref("creator")),
    )


def test_every_rpc_has_its_list_of_callers() -> None:
    service = referral_pb2.DESCRIPTOR.services_by_name["ReferralService"]
    assert set(CALLERS) == {method.name for method in service.methods}
