"""What the handlers work with."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc.aio

from gateway.readiness import Dependencies
from gateway.tokens import Minter
from libs.clock import MovableClock
from protos.leaderboard.v1.leaderboard_pb2_grpc import LeaderboardServiceStub
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub


@dataclass(frozen=True)
class Services:
    """One stub for each service that a route asks."""

    referral: ReferralServiceStub
    leaderboard: LeaderboardServiceStub

    @classmethod
    def over(cls, channels: Mapping[str, grpc.aio.Channel]) -> "Services":
        """The stubs of these channels, by the services' names."""
        return cls(
            referral=ReferralServiceStub(channels["referral"]),
            leaderboard=LeaderboardServiceStub(channels["leaderboard"]),
        )


@dataclass(frozen=True)
class TestMode:
    """What is there in test mode alone."""

    __test__ = False

    minter: Minter
    clock: MovableClock


@dataclass(frozen=True)
class Room:
    """Handed to every handler; nothing in it is changed by a request."""

    services: Services
    dependencies: Dependencies
    pages: Mapping[str, bytes]
    """Documents made at start, by path."""
    test_mode: TestMode | None = None
