"""Door 1, gRPC: unpack, command, pack."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

import grpc

from libs.clock import Clock
from libs.postgres import Postgres
from libs.telemetry import logger
from libs.timestamps import to_datetime, to_timestamp
from protos.leaderboard.v1 import leaderboard_pb2 as pb
from protos.leaderboard.v1 import leaderboard_pb2_grpc
from protos.referral.v1 import referral_pb2
from protos.referral.v1.referral_pb2_grpc import ReferralServiceStub
from services.leaderboard.addresses import ShortAddresses
from services.leaderboard.board import Board, Shown
from services.leaderboard.commands import profiles as profile_commands
from services.leaderboard.commands import rebuilding
from services.leaderboard.model import Place, Point, Profile, Ranked, Slice, Window
from services.leaderboard.rules import boards, names, windows
from services.leaderboard.rules import breakdowns as breakdown_rules
from services.leaderboard.store import breakdowns, earnings, places, profiles, progress

log = logger(__name__)

_Context = grpc.aio.ServicerContext[Any, Any]
_Page = tuple[pb.GetBoardResponse, Sequence[UUID]]

CALLERS: Final = frozenset({"gateway"})

_DAY: Final = timedelta(days=1)
_NOBODY: Final = UUID(int=0)
_WAIT_S: Final = 3.0
_MARK_WAIT_S: Final = 0.3


class LeaderboardServicer(leaderboard_pb2_grpc.LeaderboardServiceServicer):
    """creator.leaderboard.v1.LeaderboardService."""

    def __init__(
        self,
        postgres: Postgres,
        clock: Clock,
        board: Board,
        referral: ReferralServiceStub,
        addresses: ShortAddresses,
        pseudonym_key: str,
        cache_seconds: float = 0,
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._board = board
        self._referral = referral
        self._addresses = addresses
        self._key = pseudonym_key.encode()
        self._shown: Shown[_Page] = Shown(cache_seconds)

    async def GetBoard(self, request: pb.GetBoardRequest, context: _Context) -> pb.GetBoardResponse:
        timeframe = windows.check_timeframe(request.timeframe)
        size = boards.check_page_size(request.page_size)
        window, after = windows.window_of(timeframe, self._clock.now()), None
        if request.page_token:
            window, after = boards.read_page_token(self._key, request.page_token, timeframe)
        asking = await self._ref_if_told(request.account_id) if request.account_id else None
        # The streaks that a page shows are as of a day.
        key = window, after, size, self._clock.now().date()
        answer, refs = await self._shown.page(key, lambda: self._page(window, after, size))
        if asking not in refs:
            return answer
        own = pb.GetBoardResponse()
        own.CopyFrom(answer)
        own.rows[refs.index(asking)].me = True
        return own

    async def _page(self, window: Window, after: Place | None, size: int) -> _Page:
        """A page as everybody sees it, and who stands on it."""
        part = await self._board.page(window, after, size)
        bounds = windows.bounds_of(window)
        answer = pb.GetBoardResponse(
            rows=await self._rows(part, None),
            next_page_token=boards.page_token(self._key, window, part.rows[-1].place) if part.more else "",
            as_of=to_timestamp(part.as_of),
            window_start=to_timestamp(bounds[0]) if bounds else None,
            window_end=to_timestamp(bounds[1]) if bounds else None,
        )
        return answer, [ranked.place.creator_ref for ranked in part.rows]

    async def GetRank(self, request: pb.GetRankRequest, context: _Context) -> pb.GetRankResponse:
        window = windows.window_of(windows.check_timeframe(request.timeframe), self._clock.now())
        account_ref = await self._ref(request.account_id)
        # Nobody has this surrogate, so it answers no rows, and up to when that is so.
        part = await self._board.around(window, account_ref or _NOBODY)
        rows = await self._rows(part, account_ref)
        return pb.GetRankResponse(
            row=next((row for row in rows if row.me), None), neighbours=rows, as_of=to_timestamp(part.as_of)
        )

    async def GetProfile(self, request: pb.GetProfileRequest, context: _Context) -> pb.GetProfileResponse:
        account_ref = await self._ref(request.account_id)
        if account_ref is None:
            return pb.GetProfileResponse(profile=pb.Profile())
        async with self._postgres.connection() as connection:
            found = await profiles.find(connection, account_ref)
        return pb.GetProfileResponse(profile=await self._profile(found))

    async def SetProfile(self, request: pb.SetProfileRequest, context: _Context) -> pb.SetProfileResponse:
        name = names.check_display_name(request.display_name)
        account_ref = await self._made_ref(request.account_id)
        changed = await profile_commands.set_profile(self._postgres, self._clock, account_ref, name)
        self._shown.forget()
        return pb.SetProfileResponse(profile=await self._profile(changed))

    async def GetEarningsSeries(
        self, request: pb.GetEarningsSeriesRequest, context: _Context
    ) -> pb.GetEarningsSeriesResponse:
        timeframe = windows.check_bucket(request.bucket)
        start = to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else None
        end = to_datetime(request.to_time, field="to_time") if request.HasField("to_time") else None
        first, after = windows.check_period(start, end, self._clock.now())
        account_ref = await self._ref(request.account_id)
        async with self._postgres.transaction(readonly=True) as connection:
            await progress.hold(connection)
            days = await earnings.by_day(connection, account_ref or _NOBODY, first, after)
            as_of = await progress.as_of(connection)
        points = windows.series(days, timeframe)
        return pb.GetEarningsSeriesResponse(
            points=[
                pb.EarningsPoint(
                    start=to_timestamp(windows.midnight(point.start)),
                    accrued_micro=point.accrued_micro,
                    charges=point.charges,
                    reversed_micro=point.reversed_micro,
                )
                for point in points
            ],
            accrued_micro=sum(point.accrued_micro for point in points),
            as_of=to_timestamp(as_of),
        )

    async def GetEarningsBreakdown(
        self, request: pb.GetEarningsBreakdownRequest, context: _Context
    ) -> pb.GetEarningsBreakdownResponse:
        dimension = breakdown_rules.check_dimension(request.dimension)
        first, last = breakdown_rules.check_days(request.from_day, request.to_day)
        parts, totals, through = await self._published(request.account_id, dimension, first, last)
        whole = breakdown_rules.Part("", sum(day.charges for day in totals), sum(day.accrued_micro for day in totals))
        return pb.GetEarningsBreakdownResponse(
            parts=[
                pb.BreakdownPart(name=part.name, accrued_micro=part.accrued_micro, charges=part.charges)
                for part in breakdown_rules.with_rest((part for _, part in parts), whole)
            ],
            closed_through=through.isoformat() if through else "",
        )

    async def ListStatementLines(
        self, request: pb.ListStatementLinesRequest, context: _Context
    ) -> pb.ListStatementLinesResponse:
        first, last = breakdown_rules.check_days(request.from_day, request.to_day)
        size = breakdown_rules.check_lines(request.page_size)
        start = breakdown_rules.check_token(request.page_token)
        by_model = breakdown_rules.Dimension.MODEL
        parts, totals, _ = await self._published(request.account_id, by_model, first, last)
        lines = breakdown_rules.lines(parts, totals)
        return pb.ListStatementLinesResponse(
            lines=[
                pb.StatementLine(
                    day=line.day.isoformat(),
                    model=line.part.name,
                    charges=line.part.charges,
                    accrued_micro=line.part.accrued_micro,
                    reversed_micro=line.reversed_micro,
                )
                for line in lines[start : start + size]
            ],
            next_page_token=str(start + size) if len(lines) > start + size else "",
        )

    async def Rebuild(self, request: pb.RebuildRequest, context: _Context) -> pb.RebuildResponse:
        rebuild_id = await rebuilding.request(self._postgres, self._clock, request.operator_id, request.reason)
        return pb.RebuildResponse(rebuild_id=str(rebuild_id))

    async def _published(
        self, account_id: str, dimension: breakdown_rules.Dimension, first: date, last: date
    ) -> tuple[list[tuple[date, breakdown_rules.Part]], list[Point], date | None]:
        """What is shown of published days, their totals, and the last such day within the period; as of one instant."""
        account_ref = await self._ref(account_id) or _NOBODY
        async with self._postgres.transaction(readonly=True) as connection:
            await progress.hold(connection)
            through = await breakdowns.published_through(connection)
            if through is None or through < first:
                return [], [], None
            last = min(last, through)
            parts = await breakdowns.parts(connection, account_ref, dimension, first, last)
            return parts, await earnings.by_day(connection, account_ref, first, last + _DAY), last

    async def _ref(self, account_id: str) -> UUID | None:
        """The surrogate of an account, from the own copy or from referral; None where it has none."""
        return await self._resolved(account_id, existing_only=True)

    async def _ref_if_told(self, account_id: str) -> UUID | None:
        """The same, for a read that can do without: where referral does not answer, no row is marked."""
        boards.check_account_id(account_id)
        try:
            return await self._resolved(account_id, existing_only=True, wait_seconds=_MARK_WAIT_S)
        except grpc.aio.AioRpcError as error:
            log.warning("an account is not known", code=error.code().name)
            return None

    async def _made_ref(self, account_id: str) -> UUID:
        """The same, made where there is none: somebody who shows a name is somebody."""
        account_ref = await self._resolved(account_id, existing_only=False)
        if account_ref is None:
            raise boards.CreatorUnknown
        return account_ref

    async def _resolved(self, account_id: str, *, existing_only: bool, wait_seconds: float = _WAIT_S) -> UUID | None:
        boards.check_account_id(account_id)
        async with self._postgres.connection() as connection:
            known = await profiles.find_ref(connection, account_id)
        if known is not None:
            return known
        answer = await self._referral.ResolveAccounts(
            referral_pb2.ResolveAccountsRequest(account_ids=[account_id], existing_only=existing_only),
            timeout=wait_seconds,
        )
        if not answer.accounts:
            return None
        account_ref = UUID(answer.accounts[0].account_ref)
        await profile_commands.keep_ref(self._postgres, account_id, account_ref)
        return account_ref

    async def _rows(self, part: Slice, asking: UUID | None) -> list[pb.BoardRow]:
        if not part.rows:
            return []
        today = self._clock.now().date()
        async with self._postgres.connection() as connection:
            faces = await places.faces(connection, [ranked.place.creator_ref for ranked in part.rows], today)
        masks = await self._masks([ref for ref, face in faces.items() if not face.display_name])

        def row(ranked: Ranked) -> pb.BoardRow:
            ref = ranked.place.creator_ref
            return pb.BoardRow(
                rank=ranked.rank,
                display_name=faces[ref].display_name or masks[ref],
                referral_count=ranked.place.referral_count,
                earned_micro=ranked.place.earned_micro,
                streak_days=windows.streak_on(faces[ref].run, today),
                me=ref == asking,
            )

        return [row(ranked) for ranked in part.rows]

    async def _masks(self, refs: Sequence[UUID]) -> Mapping[UUID, str]:
        """What is shown of who shows no name: a wallet's short address, else a pseudonym."""
        addresses = await self._addresses.of(refs)
        return {ref: addresses.get(ref) or boards.pseudonym(self._key, ref) for ref in refs}

    async def _profile(self, profile: Profile) -> pb.Profile:
        return pb.Profile(
            display_name=profile.display_name,
            pseudonym=(await self._masks([profile.account_ref]))[profile.account_ref],
            updated_at=to_timestamp(profile.updated_at) if profile.updated_at else None,
        )
