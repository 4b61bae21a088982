"""Random lives of a few creators' payouts, on a real PostgreSQL and in a dict: both say the same after every step."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from services.distribution.model.holds import Hold, HoldState
from tests.conftest import Database
from tests.support.treasury import DELAY, HOLD, Treasury, opened, outcome

CREATORS = 2

creator = st.integers(0, CREATORS - 1)
payout = st.integers(0, 1)
amount = st.sampled_from([1, 2, 3, 5, 9, 40])
# 0 is the round that it is the turn of.
turn = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
to = st.sampled_from([HoldState.BURNED, HoldState.BURNED, HoldState.RETURNED, HoldState.COMPLETED, HoldState.FAILED])
KINDS = {
    "earn": st.tuples(st.just("earn"), creator, amount),
    "wait": st.tuples(st.just("wait"), st.sampled_from([1, 3, 14])),
    "hold": st.tuples(st.just("hold"), payout, creator, amount, turn),
    "move": st.tuples(st.just("move"), payout, turn, to, st.booleans()),
    "freeze": st.tuples(st.just("freeze"), creator, st.sampled_from([False, False, True])),
    "forfeit": st.tuples(st.just("forfeit"), creator),
}
OFTEN = {"earn": 2, "wait": 2, "hold": 6, "move": 10, "freeze": 1, "forfeit": 1}
step = st.sampled_from([kind for kind, often in OFTEN.items() for _ in range(often)]).flatmap(KINDS.__getitem__)


@dataclass
class Person:
    pending: list[tuple[datetime, int]] = field(default_factory=list)
    maturing: list[tuple[datetime, int]] = field(default_factory=list)
    free: int = 0
    """Settled and not maturing."""
    held: int = 0
    paid_out: int = 0
    reversed: int = 0
    frozen: bool = False


@dataclass
class World:
    """What should be so. Payouts: rounds of [creator, amount, state, fee]; `doomed`: those held when it forfeited."""

    people: list[Person] = field(default_factory=lambda: [Person() for _ in range(CREATORS)])
    payouts: dict[int, list[list[int]]] = field(default_factory=dict)
    doomed: set[tuple[int, int]] = field(default_factory=set)
    reserve: int = 0
    in_flight: int = 0
    sent: int = 0
    fees: int = 0

    def settle(self, now: datetime) -> None:
        for person in self.people:
            due = [each for each in person.pending if each[0] + DELAY <= now]
            person.pending = [each for each in person.pending if each not in due]
            person.maturing += [(at + HOLD, micro) for at, micro in due]
            person.free += sum(micro for at, micro in person.maturing if at <= now)
            person.maturing = [each for each in person.maturing if each[0] > now]

    def turn(self, number: int) -> int:
        rounds = self.payouts.get(number, [])
        return len(rounds) if rounds and rounds[-1][2] not in {2, 5} else len(rounds) + 1

    def hold(self, number: int, who: int, micro: int, turn: int) -> str:
        rounds, person = self.payouts.setdefault(number, []), self.people[who]
        if turn <= len(rounds):
            return "REPLAYED" if rounds[turn - 1][:2] == [who, micro] else "HOLD_MISMATCH"
        if turn != len(rounds) + 1 or (rounds and rounds[-1][2] not in {2, 5}):
            return "ROUND_OUT_OF_ORDER"
        if rounds and rounds[-1][0] != who:
            return "HOLD_MISMATCH"
        if person.frozen:
            return "EARNINGS_FROZEN"
        if micro > person.free:
            return "INSUFFICIENT_WITHDRAWABLE"
        person.free -= micro
        person.held += micro
        rounds.append([who, micro, 1, 0])
        return "DONE"

    def move(self, number: int, turn: int, to: HoldState, fee: int) -> str:
        rounds = self.payouts.get(number, [])
        if turn > len(rounds):
            return "HOLD_UNKNOWN"
        entry = rounds[turn - 1]
        who, micro, state, earlier_fee = entry
        if state == to:
            return "HOLD_MISMATCH" if to is HoldState.COMPLETED and fee != earlier_fee else "REPLAYED"
        if state != (1 if to in {2, 3} else 3):
            return "HOLD_NOT_HELD" if to in {2, 3} else "HOLD_NOT_BURNED"
        if to is HoldState.BURNED and self.people[who].frozen:
            return "EARNINGS_FROZEN"
        entry[2:] = [to, fee if to is HoldState.COMPLETED else 0]
        self._apply(self.people[who], micro, to, fee)
        if to in {HoldState.RETURNED, HoldState.FAILED} and (number, turn) in self.doomed:
            self.people[who].free -= micro
            self._take(self.people[who], micro)
        return "DONE"

    def _apply(self, person: Person, micro: int, to: HoldState, fee: int) -> None:
        if to in {HoldState.RETURNED, HoldState.BURNED}:
            person.held -= micro
        else:
            self.in_flight -= micro
        if to in {HoldState.RETURNED, HoldState.FAILED}:
            person.free += micro
        if to is HoldState.BURNED:
            person.paid_out += micro
            self.in_flight += micro
            self.reserve -= micro
        elif to is HoldState.COMPLETED:
            self.sent += micro - fee
            self.fees += fee
        elif to is HoldState.FAILED:
            person.paid_out -= micro
            self.reserve += micro

    def forfeit(self, who: int) -> None:
        person = self.people[who]
        taken = person.free + sum(micro for _, micro in (*person.pending, *person.maturing))
        person.pending, person.maturing, person.free = [], [], 0
        self._take(person, taken)
        for number, rounds in self.payouts.items():
            self.doomed |= {(number, turn) for turn, each in enumerate(rounds, 1) if each[0] == who}

    def _take(self, person: Person, micro: int) -> None:
        person.reversed += micro
        self.reserve -= micro


@dataclass
class Life:
    """Both sides of one life, with ids of its own: one database serves all of them."""

    books: Treasury
    world: World = field(default_factory=World)
    refs: list[str] = field(default_factory=lambda: [str(uuid.uuid4()) for _ in range(CREATORS)])
    payout_ids: list[str] = field(default_factory=lambda: [str(uuid.uuid4()) for _ in range(2)])
    before: dict[str, int] = field(default_factory=dict)

    async def step(self, what: str, *args: Any) -> None:
        if what == "hold":
            number, *rest, turn = args
            args = (number, *rest, turn or self.world.turn(number))
        elif what == "move":
            number, turn, *rest = args
            args = (number, turn or max(len(self.world.payouts.get(number, [])), 1), *rest)
        expected = getattr(self, f"_expect_{what}")(*args)
        said = await outcome(getattr(self, f"_{what}")(*args))
        event(f"{what} {said} {args[2].name if what == 'move' else ''}")
        assert said == expected, (what, args)
        if what in {"hold", "move"}:  # twice is once
            again = "REPLAYED" if expected == "DONE" else expected
            assert await outcome(getattr(self, f"_{what}")(*args)) == again

    def _expect_earn(self, who: int, micro: int) -> str:
        self.world.people[who].pending.append((self.books.clock.now(), micro))
        self.world.reserve += micro
        return "DONE"

    async def _earn(self, who: int, micro: int) -> str:
        return await self.books.earn(self.refs[who], micro)

    def _expect_wait(self, days: int) -> str:
        self.books.clock.advance(timedelta(days=days))
        self.world.settle(self.books.clock.now())
        return "DONE"

    async def _wait(self, _days: int) -> int:
        return await self.books.settle()

    def _expect_hold(self, number: int, who: int, micro: int, turn: int) -> str:
        return self.world.hold(number, who, micro, turn)

    async def _hold(self, number: int, who: int, micro: int, turn: int) -> object:
        return await self.books.hold(self.refs[who], micro, self.payout_ids[number], turn)

    def _expect_move(self, number: int, turn: int, to: HoldState, _whole: bool) -> str:  # noqa: FBT001
        return self.world.move(number, turn, to, self._fee(number, turn, to, whole=_whole))

    async def _move(self, number: int, turn: int, to: HoldState, whole: bool) -> object:  # noqa: FBT001
        fee = self._fee(number, turn, to, whole=whole)
        sent = 0
        if to is HoldState.COMPLETED:
            rounds = self.world.payouts.get(number, [])
            sent = (rounds[turn - 1][1] if turn <= len(rounds) else 1) - fee
        now = self.books.clock.now()
        named = Hold(self.payout_ids[number], turn, self.refs[0], 1, HoldState.HELD, 0, 0, now, now)
        return await self.books.move(named, to, sent, fee)

    def _fee(self, number: int, turn: int, to: HoldState, *, whole: bool) -> int:
        rounds = self.world.payouts.get(number, [])
        if whole or to is not HoldState.COMPLETED or turn > len(rounds):
            return 0
        return rounds[turn - 1][1] // 3

    def _expect_freeze(self, who: int, frozen: bool) -> str:  # noqa: FBT001
        self.world.people[who].frozen = frozen
        return "DONE"

    async def _freeze(self, who: int, frozen: bool) -> None:  # noqa: FBT001
        await self.books.freeze(self.refs[who], frozen=frozen)

    def _expect_forfeit(self, who: int) -> str:
        self.world.forfeit(who)
        return "DONE"

    async def _forfeit(self, who: int) -> object:
        return await self.books.forfeit(self.refs[who])

    async def check(self) -> None:
        for ref, person in zip(self.refs, self.world.people, strict=True):
            found = await self.books.earnings(ref)
            assert found.pending_micro == sum(micro for _, micro in person.pending)
            assert found.maturing_micro == sum(micro for _, micro in person.maturing)
            assert (found.frozen_micro if person.frozen else found.withdrawable_micro) == person.free
            assert (found.held_micro, found.paid_out_micro) == (person.held, person.paid_out)
            assert found.reversed_micro == person.reversed
        shared = {
            "treasury:payout_reserve": self.world.reserve,
            "provider:in_flight": self.world.in_flight,
            "provider:sent": self.world.sent,
            "provider:fees": self.world.fees,
        }
        for name, micro in shared.items():
            assert await self.books.balance(name) - self.before[name] == micro, name

    async def begin(self) -> None:
        names = ("treasury:payout_reserve", "provider:in_flight", "provider:sent", "provider:fees")
        self.before = {name: await self.books.balance(name) for name in names}


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Treasury]:
    async with opened(await database("distribution"), pool_max=2) as opened_books:
        yield opened_books


# Examples share the database and its clock; each has creators and payouts of its own.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=20, max_size=50))
async def test_payouts_are_what_a_plain_model_says(books: Treasury, steps: list[tuple[Any, ...]]) -> None:
    life = Life(books)
    await life.begin()
    # Something to withdraw from the beginning, so that most lives come as far as a payout.
    for what, *args in [("earn", 0, 40), ("earn", 1, 9), ("wait", 16)]:
        await life.step(str(what), *args)
    for what, *args in steps:
        await life.step(what, *args)
        await life.check()
    await books.check()
