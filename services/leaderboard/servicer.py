"""Door 1, gRPC: unpack, command, pack."""

from typing import Any, Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Postgres
from libs.timestamps import to_datetime, to_timestamp
from protos.leaderboard.v1 import leaderboard_pb2 as pb
from protos.leaderboard.v1 import leaderboard_pb2_grpc
from protos.referral.v1 import referral_pb2
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from services.leaderboard import rules
from services.leaderboard.board import Board
from services.leaderboard.commands import profiles as profile_commands
from services.leaderboard.model import Profile, Ranked, Slice
from services.leaderboard.store import earnings, places, profiles

_Context = grpc.aio.ServicerContext[Any, Any]

CALLERS: Final = frozenset({"gateway"})


class LeaderboardServicer(leaderboard_pb2_grpc.LeaderboardServiceServicer):
    """creator.leaderboard.v1.LeaderboardService."""

    def __init__(
        self, postgres: Postgres, clock: Clock, board: Board, referral: ReferralServiceStub, pseudonym_key: str
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._board = board
        self._referral = referral
        self._pseudonym_key = pseudonym_key.encode()

    async def GetBoard(self, request: pb.GetBoardRequest, context: _Context) -> pb.GetBoardResponse:
        timeframe = rules.check_timeframe(request.timeframe)
        size = rules.check_page_size(request.page_size)
        window, after = rules.window_of(timeframe, self._clock.now()), None
        if request.page_token:
            window, after = rules.read_page_token(request.page_token, timeframe)
        asking = await self._ref(request.account_id) if request.account_id else None
        part = await self._board.page(window, after, size)
        bounds = rules.bounds_of(window)
        return pb.GetBoardResponse(
            rows=await self._rows(part, asking),
            next_page_token=rules.page_token(window, part.rows[-1].place) if part.more else "",
            as_of=to_timestamp(part.as_of),
            window_start=to_timestamp(bounds[0]) if bounds else None,
            window_end=to_timestamp(bounds[1]) if bounds else None,
        )

    async def GetRank(self, request: pb.GetRankRequest, context: _Context) -> pb.GetRankResponse:
        window = rules.window_of(rules.check_timeframe(request.timeframe), self._clock.now())
        account_ref = await self._ref(request.account_id)
        if account_ref is None:
            return pb.GetRankResponse(as_of=to_timestamp(self._clock.now()))
        part = await self._board.around(window, account_ref)
        rows = await self._rows(part, account_ref)
        return pb.GetRankResponse(
            row=next((row for row in rows if row.me), None), neighbours=rows, as_of=to_timestamp(part.as_of)
        )

    async def GetProfile(self, request: pb.GetProfileRequest, context: _Context) -> pb.GetProfileResponse:
        account_ref = await self._made_ref(request.account_id)
        async with self._postgres.connection() as connection:
            return pb.GetProfileResponse(profile=self._profile(await profiles.find(connection, account_ref)))

    async def SetProfile(self, request: pb.SetProfileRequest, context: _Context) -> pb.SetProfileResponse:
        name = rules.check_display_name(request.display_name)
        account_ref = await self._made_ref(request.account_id)
        changed = await profile_commands.set_profile(self._postgres, self._clock, account_ref, name)
        return pb.SetProfileResponse(profile=self._profile(changed))

    async def GetEarningsSeries(
        self, request: pb.GetEarningsSeriesRequest, context: _Context
    ) -> pb.GetEarningsSeriesResponse:
        timeframe = rules.check_bucket(request.bucket)
        start = to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else None
        end = to_datetime(request.to_time, field="to_time") if request.HasField("to_time") else None
        now = self._clock.now()
        first, after = rules.check_period(start, end, now)
        account_ref = await self._ref(request.account_id)
        days: list[tuple[Any, int, int]] = []
        if account_ref is not None:
            async with self._postgres.connection() as connection:
                days = await earnings.by_day(connection, account_ref, first, after)
        points = rules.series(days, timeframe)
        return pb.GetEarningsSeriesResponse(
            points=[
                pb.EarningsPoint(
                    start=to_timestamp(rules.midnight(point.start)),
                    accrued_micro=point.accrued_micro,
                    charges=point.charges,
                )
                for point in points
            ],
            accrued_micro=sum(point.accrued_micro for point in points),
            as_of=to_timestamp(now),
        )

    async def _ref(self, account_id: str) -> UUID | None:
        """The surrogate of an account, from the own copy or from referral; None where it has none."""
        return await self._resolved(account_id, existing_only=True)

    async def _made_ref(self, account_id: str) -> UUID:
        """The same, made where there is none: somebody who shows a name is somebody."""
        account_ref = await self._resolved(account_id, existing_only=False)
        if account_ref is None:
            raise rules.AccountUnknown
        return account_ref

    async def _resolved(self, account_id: str, *, existing_only: bool) -> UUID | None:
        rules.check_account_id(account_id)
        async with self._postgres.connection() as connection:
            known = await profiles.find_ref(connection, account_id)
        if known is not None:
            return known
        answer = await self._referral.ResolveAccounts(
            referral_pb2.ResolveAccountsRequest(account_ids=[account_id], existing_only=existing_only)
        )
        if not answer.accounts:
            return None
        account_ref = UUID(answer.accounts[0].account_ref)
        await profile_commands.keep_ref(self._postgres, account_id, account_ref)
        return account_ref

    async def _rows(self, part: Slice, asking: UUID | None) -> list[pb.BoardRow]:
        refs = [ranked.place.creator_ref for ranked in part.rows]
        today = part.as_of.date()
        async with self._postgres.connection() as connection:
            names = await profiles.names_of(connection, refs)
            runs = await places.last_runs(connection, refs)

        def row(ranked: Ranked) -> pb.BoardRow:
            ref = ranked.place.creator_ref
            return pb.BoardRow(
                rank=ranked.rank,
                display_name=names.get(ref) or rules.pseudonym(self._pseudonym_key, ref),
                referral_count=ranked.place.referral_count,
                earned_micro=ranked.place.earned_micro,
                streak_days=rules.streak_on(runs.get(ref), today),
                me=ref == asking,
            )

        return [row(ranked) for ranked in part.rows]

    def _profile(self, profile: Profile) -> pb.Profile:
        return pb.Profile(
            display_name=profile.display_name,
            pseudonym=rules.pseudonym(self._pseudonym_key, profile.account_ref),
            updated_at=to_timestamp(profile.updated_at) if profile.updated_at else None,
        )
