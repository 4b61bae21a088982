"""What a creator sees and says of itself."""

from http import HTTPStatus

from gateway.derived.own import CREATOR
from gateway.route import Call, Limited, Route
from gateway.routes.packing import instant, word
from gateway.schemas.creators import Profile, SetProfile
from gateway.schemas.referrals import BonusCount, ReferralStats
from gateway.schemas.wire import micro
from protos.leaderboard.v1 import leaderboard_pb2
from protos.referral.v1 import events_pb2, referral_pb2


async def set_profile(call: Call[SetProfile, None]) -> Profile:
    changed = await call.room.services.leaderboard.SetProfile(
        leaderboard_pb2.SetProfileRequest(account_id=call.caller.account_id, display_name=call.body.display_name or "")
    )
    return _profile(changed.profile)


async def get_profile(call: Call[None, None]) -> Profile:
    found = await call.room.services.leaderboard.GetProfile(
        leaderboard_pb2.GetProfileRequest(account_id=call.caller.account_id)
    )
    return _profile(found.profile)


def _profile(profile: leaderboard_pb2.Profile) -> Profile:
    return Profile(
        display_name=profile.display_name or None,
        pseudonym=profile.pseudonym,
        updated_at=instant(profile, "updated_at"),
    )


async def get_referrals(call: Call[None, None]) -> ReferralStats:
    found = await call.room.services.referral.GetReferralStats(
        referral_pb2.GetReferralStatsRequest(account_id=call.caller.account_id)
    )
    return ReferralStats(
        registered=found.registered,
        qualified=found.qualified,
        paying=found.paying,
        active=found.active,
        window_ended=found.window_ended,
        bonuses=[
            BonusCount(
                state=word(events_pb2.BonusState, bonus.state),
                count=bonus.count,
                amount_micro=micro(bonus.amount_micro),
            )
            for bonus in found.bonuses
        ],
    )


ROUTES = (
    Route(
        method="PUT",
        path="/api/creator/profile",
        name="setProfile",
        summary="Opts in to a display name on leaderboards, or out of it.",
        tag="Creator",
        access=CREATOR,
        limited=Limited.STANDARD,
        handler=set_profile,
        body=SetProfile,
        answers={HTTPStatus.OK: Profile},
        problems={
            HTTPStatus.BAD_REQUEST: ("DISPLAY_NAME_INVALID", "DISPLAY_NAME_RESERVED"),
            HTTPStatus.SERVICE_UNAVAILABLE: ("CREATOR_UNKNOWN",),
        },
    ),
    Route(
        method="GET",
        path="/api/creator/profile",
        name="getProfile",
        summary="What others see of the account.",
        tag="Creator",
        access=CREATOR,
        limited=Limited.STANDARD,
        handler=get_profile,
        answers={HTTPStatus.OK: Profile},
    ),
    Route(
        method="GET",
        path="/api/creator/referrals",
        name="getReferralStats",
        summary="Totals over everybody the creator brought.",
        tag="Creator",
        access=CREATOR,
        limited=Limited.STANDARD,
        handler=get_referrals,
        answers={HTTPStatus.OK: ReferralStats},
    ),
)
