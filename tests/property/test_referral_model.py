"""Random lives of a few accounts, on a real PostgreSQL and in a dict: both must say the same, each thing said twice."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.refusals import Refusal
from services.referral.rules import codes as code_rules
from tests.conftest import Database
from tests.support.referral import Referral, opened

ACCOUNTS = ("ann", "bob", "cyn", "dan")
_numbers = itertools.count()

account = st.sampled_from(ACCOUNTS)
step = st.one_of(
    st.tuples(st.just("ask"), account, st.sampled_from([None, 1, 2]), st.sampled_from([None, 1, 30])),
    st.tuples(st.just("register"), account, st.integers(0, 5), st.sampled_from([None, 0, 24, 25])),
    st.tuples(st.just("charge"), st.lists(account, min_size=1, unique=True)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 60])),
    st.tuples(st.just("tidy")),
    st.tuples(st.just("suspend"), account),
)


@dataclass
class World:
    """What should be so. A code: [owner, uses, max_uses, expires_at]; a decision: referrer or None, and when."""

    codes: dict[str, list[Any]] = field(default_factory=dict)
    decisions: dict[str, tuple[str | None, datetime]] = field(default_factory=dict)
    bindings: list[tuple[str, datetime]] = field(default_factory=list)
    suspended: set[str] = field(default_factory=set)
    attempts: int = 0

    def over(self, code: str, now: datetime) -> str | None:
        _, uses, max_uses, expires_at = self.codes[code]
        if uses == max_uses:
            return "CODE_EXHAUSTED"
        return "CODE_EXPIRED" if expires_at is not None and expires_at <= now else None

    def active(self, owner: str, now: datetime) -> str | None:
        return next((code for code, row in self.codes.items() if row[0] == owner and not self.over(code, now)), None)

    def register(self, who: str, code: str, age_hours: int | None, now: datetime) -> str:
        self.attempts += 1
        referrer, _ = self.decisions.get(who, (None, now))
        if referrer is not None:
            return "already_bound"
        if code not in self.codes:
            return "CODE_UNKNOWN"
        recent = [each for each, at in self.bindings if each == code and now - at < timedelta(hours=1)]
        owner = self.codes[code][0]
        faults = {
            self.over(code, now): self.over(code, now) is not None,
            "REFERRER_SUSPENDED": owner in self.suspended,
            "SELF_REFERRAL": owner == who,
            "LOCKED_ORGANIC": who in self.decisions,
            "ACCOUNT_AGE_UNKNOWN": age_hours is None,
            "ACCOUNT_TOO_OLD": (age_hours or 0) > 24,
            "CODE_VELOCITY_EXCEEDED": len(recent) >= 2,
        }
        for reason, holds in faults.items():
            if holds and reason:
                return reason
        self.codes[code][1] += 1
        self.decisions[who] = (owner, now)
        self.bindings.append((code, now))
        return "bound"


class Life:
    """Plays each step twice against referral and once or twice against the world, as the step's meaning says."""

    def __init__(self, referral: Referral) -> None:
        self.referral = referral
        self.world = World()
        self.prefix = f"{next(_numbers)}-"

    async def ask(self, who: str, max_uses: int | None, lasts: int | None) -> None:
        now = self.referral.clock.now()
        lasting = timedelta(minutes=lasts) if lasts else None
        expected = self.world.active(who, now)
        first, created = await self.referral.make_code(self.prefix + who, lasts=lasting, max_uses=max_uses)
        assert created == (expected is None)
        if created:
            assert first.code not in self.world.codes
            self.world.codes[first.code] = [who, 0, max_uses, now + lasting if lasting else None]
        assert first.code == (expected or first.code)
        assert await self.referral.make_code(self.prefix + who) == (first, False)
        assert await self.referral.active_code(self.prefix + who) == first

    async def register(self, who: str, number: int, age_hours: int | None) -> None:
        issued = [*self.world.codes, "nosuchcode"]
        code = issued[number % len(issued)]
        age = None if age_hours is None else timedelta(hours=age_hours)
        for _ in range(2):
            expected = self.world.register(who, code, age_hours, self.referral.clock.now())
            assert await self.referral.try_register(self.prefix + who, code.upper(), age=age) == expected

    async def charge(self, payers: list[str]) -> None:
        for _ in range(2):
            found = await self.referral.resolve(*(self.prefix + who for who in payers))
            for who, each in zip(payers, found, strict=True):
                referrer, at = self.world.decisions.setdefault(who, (None, self.referral.clock.now()))
                expected = await self.referral.ref(self.prefix + referrer) if referrer else None
                assert (str(each.referrer_ref) if each.referrer_ref else None, each.registered_at) == (expected, at)

    async def wait(self, minutes: int) -> None:
        self.referral.clock.advance(timedelta(minutes=minutes))

    async def tidy(self) -> None:
        await self.referral.expire_codes()
        assert await self.referral.expire_codes() == 0

    async def suspend(self, who: str) -> None:
        self.world.suspended.add(who)
        await self.referral.execute(
            """
            INSERT INTO standings VALUES ($1, 'suspended', 'FLAGGED_SHARE', 1, $2)
            ON CONFLICT (account_ref) DO UPDATE SET revision = standings.revision + 1
            """,
            await self.referral.ref(self.prefix + who),
            self.referral.clock.now(),
        )

    async def finish(self) -> None:
        """Every decision was told once, every attempt is on record, every code is where it should be."""
        decided = await self._refs(
            "SELECT referee_ref::text AS ref FROM referral_registrations JOIN accounts ON account_ref = referee_ref "
            "WHERE account_id LIKE $1"
        )
        told = [event.account_ref for _, event in await self.referral.events()]
        assert len(decided) == len(self.world.decisions)
        assert set(decided) <= set(told)
        assert len(told) == len(set(told))
        attempts = await self._refs(
            "SELECT attempt_id::text AS ref FROM referral_attribution_log JOIN accounts ON account_ref = referee_ref "
            "WHERE account_id LIKE $1"
        )
        assert len(attempts) == self.world.attempts
        uses = await self._refs(
            "SELECT code || ':' || uses AS ref FROM codes JOIN accounts ON account_ref = owner_ref "
            "WHERE account_id LIKE $1"
        )
        assert sorted(uses) == sorted(f"{code}:{row[1]}" for code, row in self.world.codes.items())

    async def _refs(self, query: str) -> list[str]:
        return [row["ref"] for row in await self.referral.rows(query, self.prefix + "%")]


@pytest.fixture
async def referral(database: Database) -> AsyncIterator[Referral]:
    async with opened(await database("referral")) as referral:
        referral.limits = type(referral.limits)(bindings_per_code=2)
        yield referral


# Examples share the database and its clock; each has accounts of its own.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=1, max_size=25))
async def test_referral_lives_as_a_dict_would(referral: Referral, steps: list[tuple[Any, ...]]) -> None:
    life = Life(referral)
    for name, *arguments in steps:
        await getattr(life, name)(*arguments)
    await life.finish()


@given(vanity=st.text(max_size=15), expires=st.none(), max_uses=st.integers(-(2**63), 2**63 - 1))
def test_any_wish_is_either_refused_with_a_reason_or_fits_the_table(vanity: str, expires: None, max_uses: int) -> None:
    try:
        wish = code_rules.check_wish(vanity, expires, max_uses)
    except Refusal as refusal:
        field = refusal.data["field"]
    else:
        field = ""
        assert wish.max_uses is None or 0 < wish.max_uses <= 10**9
        assert wish.vanity is None or (8 <= len(wish.vanity) <= 12 and wish.vanity.isascii() and wish.vanity.isalnum())
    assert field in {"", "vanity_code", "max_uses"}
