"""Codes and sign-ups."""

from http import HTTPStatus

from gateway.derived.own import Own
from gateway.route import Access, Answer, Call, Limited, Route
from gateway.routes.packing import instant, word
from gateway.schemas.referrals import Code, CreateCode, Register, Registered
from libs.timestamps import to_timestamp
from protos.referral.v1 import referral_pb2 as pb
from protos.referral.v1 import share_pb2


async def create_code(call: Call[CreateCode, None]) -> Answer:
    wish = call.body
    made = await call.room.services.referral.CreateCode(
        pb.CreateCodeRequest(
            account_id=call.caller.account_id,
            vanity_code=wish.vanity_code or "",
            expires_at=to_timestamp(wish.expires_at) if wish.expires_at else None,
            max_uses=wish.max_uses or 0,
        )
    )
    return Answer(_code(made.code), HTTPStatus.CREATED if made.created else HTTPStatus.OK)


async def get_code(call: Call[None, None]) -> Code:
    found = await call.room.services.referral.GetCode(pb.GetCodeRequest(account_id=call.caller.account_id))
    return _code(found.code)


async def register(call: Call[Register, None]) -> Registered:
    made = call.caller.account_created_at
    bound = await call.room.services.referral.Register(
        pb.RegisterRequest(
            account_id=call.caller.account_id,
            code=call.body.code,
            account_created_at=to_timestamp(made) if made else None,
            channel=call.body.channel or "",
            client=pb.ClientContext(
                ip_address=call.client.address,
                user_agent=call.client.user_agent,
                fingerprint=call.client.fingerprint,
            ),
        )
    )
    registered_at = instant(bound, "registered_at")
    assert registered_at is not None  # noqa: S101 - a binding has a time
    return Registered(already_bound=bound.already_bound, registered_at=registered_at)


def _code(code: pb.ReferralCode) -> Code:
    created_at = instant(code, "created_at")
    assert created_at is not None  # noqa: S101 - a code has a time
    return Code(
        code=code.code,
        state=word(pb.CodeState, code.state),
        uses=code.uses,
        max_uses=code.max_uses or None,
        created_at=created_at,
        expires_at=instant(code, "expires_at"),
    )


_SHARE = Own("Referrals", "share", share_pb2.DESCRIPTOR.services_by_name["ShareService"], access=Access.ANY_TOKEN)

ROUTES = (
    Route(
        method="POST",
        path="/api/referrals/code",
        name="createCode",
        summary="The account's referral code, made if there is none: 201 when this call made it, else 200.",
        tag="Referrals",
        access=Access.ANY_TOKEN,
        limited=Limited.STANDARD,
        handler=create_code,
        body=CreateCode,
        body_required=False,
        answers={HTTPStatus.CREATED: Code, HTTPStatus.OK: Code},
        problems={
            HTTPStatus.BAD_REQUEST: (
                "VANITY_CODE_INVALID", "VANITY_CODE_RESERVED", "CODE_EXPIRY_INVALID", "CODE_MAX_USES_INVALID",
            ),
            HTTPStatus.CONFLICT: ("CODE_TAKEN", "ACTIVE_CODE_EXISTS"),
        },
    ),
    Route(
        method="GET",
        path="/api/referrals/code",
        name="getCode",
        summary="The account's active referral code.",
        tag="Referrals",
        access=Access.ANY_TOKEN,
        limited=Limited.STANDARD,
        handler=get_code,
        answers={HTTPStatus.OK: Code},
        problems={HTTPStatus.NOT_FOUND: ("NO_ACTIVE_CODE",)},
    ),
    _SHARE.get(
        "/api/referrals/share", "GetShareCard", bad_request="CHANNEL_INVALID", not_found="NO_ACTIVE_CODE"
    ),
    Route(
        method="POST",
        path="/api/referrals/register",
        name="register",
        summary="Binds the account to the owner of a code, once and for ever; asking again changes nothing.",
        tag="Referrals",
        access=Access.ANY_TOKEN,
        limited=Limited.REGISTER,
        handler=register,
        body=Register,
        answers={HTTPStatus.OK: Registered},
        problems={
            HTTPStatus.BAD_REQUEST: ("CHANNEL_INVALID",),
            HTTPStatus.NOT_FOUND: ("CODE_UNKNOWN",),
            HTTPStatus.CONFLICT: (
                "CODE_EXPIRED", "CODE_EXHAUSTED", "CODE_REVOKED", "REFERRER_SUSPENDED", "SELF_REFERRAL", "SAME_WALLET",
                "LOCKED_ORGANIC", "ACCOUNT_AGE_UNKNOWN", "ACCOUNT_AGE_INVALID", "ACCOUNT_TOO_OLD",
            ),
            HTTPStatus.TOO_MANY_REQUESTS: ("CODE_VELOCITY_EXCEEDED",),
        },
    ),
)  # fmt: skip
