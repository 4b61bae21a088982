"""Registrations that are flagged count no more, and again when cleared: in any order, as often as it is told."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from libs.postgres import Postgres
from libs.timestamps import to_timestamp
from protos.referral.v1.events_pb2 import RegistrationFlagged
from services.leaderboard import consumers
from services.leaderboard.model import Timeframe
from services.leaderboard.rules import windows
from services.leaderboard.store import places
from tests.conftest import Database
from tests.support.leaderboard import (
    ALL_TIME,
    NOW,
    Leaderboard,
    Referral,
    Share,
    ago,
    apply,
    books_and_referees,
    creator,
    received,
    recomputed,
)

ANN, BOB = creator(1), creator(2)


def person(number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"person {number}")


def told(referee: uuid.UUID, *, flagged: bool, revision: int) -> RegistrationFlagged:
    return RegistrationFlagged(
        account_ref=str(referee), flagged=flagged, revision=revision, changed_at=to_timestamp(NOW)
    )


async def flag(postgres: Postgres, *events: RegistrationFlagged) -> None:
    async with postgres.transaction() as connection:
        await consumers.flags(connection, [received(event) for event in events])


async def counts(leaderboard: Leaderboard) -> list[tuple[uuid.UUID, int, datetime]]:
    rows = await leaderboard.top(ALL_TIME)
    return [(place.creator_ref, place.referral_count, place.reached_at) for place in rows]


async def streak(leaderboard: Leaderboard, who: uuid.UUID) -> int:
    async with leaderboard.postgres.connection() as connection:
        faces = await places.faces(connection, [who], NOW.date())
    return windows.streak_on(faces[who].run, NOW.date())


async def test_a_flagged_referral_counts_no_more_and_its_place_is_who_came_before(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(
        Referral(ANN, ago(2), person(1)), Referral(ANN, ago(1), person(2)), Referral(BOB, NOW, person(3))
    )
    await leaderboard.apply(Referral(BOB, NOW, person(4)))
    assert await counts(leaderboard) == [(ANN, 2, ago(1)), (BOB, 2, NOW)]
    await flag(leaderboard.postgres, told(person(2), flagged=True, revision=1))
    assert await counts(leaderboard) == [(BOB, 2, NOW), (ANN, 1, ago(2))]
    await flag(leaderboard.postgres, told(person(1), flagged=True, revision=1))
    assert await counts(leaderboard) == [(BOB, 2, NOW)]
    await flag(leaderboard.postgres, told(person(2), flagged=False, revision=2))
    assert await counts(leaderboard) == [(BOB, 2, NOW), (ANN, 1, ago(1))]


async def test_who_earned_stays_on_the_board_without_its_referral(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(Referral(ANN, NOW, person(1)), Share(ANN, ago(1), 7))
    await flag(leaderboard.postgres, told(person(1), flagged=True, revision=1))
    assert await counts(leaderboard) == [(ANN, 0, ago(1))]


async def test_a_streak_breaks_where_the_only_referral_of_a_day_is_flagged(leaderboard: Leaderboard) -> None:
    await leaderboard.apply(*(Referral(ANN, ago(day), person(day)) for day in range(4)))
    await leaderboard.apply(Referral(ANN, ago(1), person(11)))
    assert await streak(leaderboard, ANN) == 4
    await flag(leaderboard.postgres, told(person(1), flagged=True, revision=1))
    assert await streak(leaderboard, ANN) == 4  # somebody else came on that day
    await flag(leaderboard.postgres, told(person(11), flagged=True, revision=1))
    assert await streak(leaderboard, ANN) == 1
    await flag(leaderboard.postgres, told(person(1), flagged=False, revision=2))
    assert await streak(leaderboard, ANN) == 4


async def test_a_flag_at_the_end_of_time_is_a_flag_like_any_other(leaderboard: Leaderboard) -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    await leaderboard.apply(Referral(ANN, last, person(1)), Referral(ANN, NOW, person(2)))
    await flag(leaderboard.postgres, told(person(1), flagged=True, revision=1))
    assert await counts(leaderboard) == [(ANN, 1, NOW)]


Event = Referral | RegistrationFlagged

HISTORY: tuple[Event, ...] = (
    Referral(ANN, ago(1), person(1)),
    Referral(ANN, ago(1, hours=1), person(2)),
    Referral(BOB, NOW, person(3)),
    told(person(1), flagged=True, revision=1),
    told(person(1), flagged=False, revision=2),
    told(person(1), flagged=True, revision=3),
    told(person(2), flagged=True, revision=1),
    told(person(2), flagged=False, revision=2),
)
"""Of four people: one flagged in the end, one cleared, one never flagged."""


async def tell(postgres: Postgres, events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, Referral):
            await apply(postgres, [event])
        else:
            await flag(postgres, event)


async def fresh(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        await connection.execute("TRUNCATE places, referral_days, earning_days, open_parts, referees, reversal_days")


async def test_every_order_in_which_two_flags_and_a_registration_come_gives_the_same_books(database: Database) -> None:
    some: list[Event] = [HISTORY[0], *HISTORY[3:6]]
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres:
        found = set()
        for order in itertools.permutations(some):
            await fresh(postgres)
            await tell(postgres, order)
            found.add(tuple(await books_and_referees(postgres)))
    assert len(found) == 1


async def test_told_in_any_order_and_twice_the_books_are_the_same(database: Database) -> None:
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres:
        await tell(postgres, HISTORY)
        expected = await books_and_referees(postgres)
        for seed in range(20):
            order = [*HISTORY, *HISTORY]
            random.Random(seed).shuffle(order)
            await fresh(postgres)
            await tell(postgres, order)
            assert await books_and_referees(postgres) == expected


async def test_flags_registrations_and_charges_at_once_lose_nothing(database: Database) -> None:
    """Each lane works through the same creators at the same time, as the consumers of several topics do."""
    people = [Referral(creator(number % 3), ago(number % 5, seconds=number), person(number)) for number in range(60)]
    flags = [told(person(number), flagged=number % 4 == 0, revision=2) for number in range(0, 60, 2)]
    early = [told(person(number), flagged=True, revision=1) for number in range(0, 60, 2)]
    async with await Postgres.open(await database("leaderboard"), schema="leaderboard") as postgres:

        async def lane(events: Sequence[Event], seed: int) -> None:
            some = list(events)
            random.Random(seed).shuffle(some)
            await tell(postgres, some)

        async def earning() -> None:
            for number in range(30):
                await apply(postgres, [Share(creator(number % 3), ago(number % 5), 10)])

        await asyncio.gather(lane(people, 1), lane([*flags, *early], 2), earning())
        lived = await books_and_referees(postgres)
        await fresh(postgres)
        await tell(postgres, [*people, *early, *flags])
        for number in range(30):
            await apply(postgres, [Share(creator(number % 3), ago(number % 5), 10)])
        assert await books_and_referees(postgres) == lived
        rows = await places_of(postgres)
    kept = [fact for number, fact in enumerate(people) if number % 4]
    shares = [Share(creator(number % 3), ago(number % 5), 10) for number in range(30)]
    expected = recomputed([*kept, *shares], Timeframe.ALL_TIME)
    assert rows == {place.creator_ref: (place.referral_count, place.reached_at) for place in expected}


async def places_of(postgres: Postgres) -> dict[uuid.UUID, tuple[int, datetime]]:
    async with postgres.connection() as connection:
        rows = await connection.fetch("SELECT creator_ref, referral_count, referred_at FROM places WHERE timeframe = 4")
    return {row["creator_ref"]: (row["referral_count"], row["referred_at"]) for row in rows}
