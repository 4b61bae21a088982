"""Random lives of a campaign and its credits, on a real PostgreSQL and in dicts: both say the same at every step."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.refusals import Refusal
from protos.distribution.v1 import campaigns_pb2 as pb
from services.distribution.commands import budgets, burning, campaigns, grants, staged
from services.distribution.model.campaigns import CampaignState, Grant, Order, Wanted
from services.distribution.rules import grants as grant_rules
from tests.conftest import Database
from tests.support.campaigns import Campaigns, campaigns_running
from tests.support.distribution import charge, ledger_running, referral_running

CAP = 60
ORDER = Order("olga", "growth")

few = st.integers(0, 3)
account = st.integers(0, 1)
amount = st.sampled_from([1, 5, 20, 20, 45])
a_grant = st.tuples(few, account, amount, st.one_of(st.none(), st.none(), few))
STEPS = {
    "fund": st.tuples(st.just("fund"), st.sampled_from([10, 50, 100])),
    "move": st.tuples(
        st.just("move"), st.sampled_from([CampaignState.ACTIVE, CampaignState.ACTIVE, CampaignState.PAUSED])
    ),
    "reserve": st.tuples(st.just("reserve"), few, account, amount),
    "release": st.tuples(st.just("release"), few),
    "grant": st.tuples(st.just("grant"), st.lists(a_grant, min_size=1, max_size=3, unique_by=lambda each: each[0])),
    "open": st.tuples(st.just("open"), account, amount, st.booleans()),
    "stage": st.tuples(st.just("stage"), account, few, account, amount),
    "commit": st.tuples(st.just("commit"), account, st.sampled_from([0, 0, 0, 1])),
    "abandon": st.tuples(st.just("abandon"), account),
    "spend": st.tuples(st.just("spend"), few, account, amount),
    "return": st.tuples(st.just("return"), few),
    "finalize": st.tuples(st.just("finalize"), few, st.sampled_from([0, 5, 45])),
}
OFTEN = {"fund": 2, "move": 1, "reserve": 4, "release": 2, "grant": 4, "open": 2, "stage": 5, "commit": 2, "abandon": 1}
OFTEN |= {"spend": 4, "return": 2, "finalize": 3}
step = st.sampled_from([name for name, often in OFTEN.items() for _ in range(often)]).flatmap(STEPS.__getitem__)


@dataclass
class World:
    """What should be so: reservations [account, amount, state], staged grants, lots, burns."""

    active: bool = True
    available: int = 0
    granted: int = 0
    taken: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    reservations: dict[int, list[Any]] = field(default_factory=dict)
    grants: dict[str, tuple[int, int]] = field(default_factory=dict)
    staged: dict[int, dict[str, Any]] = field(default_factory=dict)
    lots: list[list[int]] = field(default_factory=list)
    burns: dict[int, dict[str, Any]] = field(default_factory=dict)
    finalized: dict[int, int] = field(default_factory=dict)

    def reserved(self) -> int:
        held: int = sum(each[1] for each in self.reservations.values() if each[2] == "reserved")
        return held + sum(int(each["reserved"]) for each in self.staged.values() if each["state"] == "open")

    def fund(self, micro: int) -> str:
        self.available += micro
        return "done"

    def move(self, to: CampaignState) -> str:
        if self.active is (to is CampaignState.ACTIVE):
            return "CAMPAIGN_MOVE_REFUSED"
        self.active = not self.active
        return "done"

    def reserve(self, name: int, who: int, micro: int) -> str:
        if earlier := self.reservations.get(name):
            return "replayed" if earlier[:2] == [who, micro] else "RESERVATION_MISMATCH"
        if not self.active:
            return "CAMPAIGN_NOT_ACTIVE"
        if self.taken[who] + micro > CAP:
            return "ACCOUNT_CAP"
        if self.available < micro:
            return "BUDGET_EXHAUSTED"
        self.available -= micro
        self.taken[who] += micro
        self.reservations[name] = [who, micro, "reserved"]
        return "done"

    def release(self, name: int) -> str:
        earlier = self.reservations.get(name)
        if earlier is None:
            return "RESERVATION_UNKNOWN"
        if earlier[2] != "reserved":
            return "RESERVATION_GRANTED" if earlier[2] == "granted" else "replayed"
        self.available += earlier[1]
        self.taken[earlier[0]] -= earlier[1]
        earlier[2] = "released"
        return "done"

    def grant(self, wanted: list[tuple[int, int, int, int | None]]) -> str:
        named = [each[3] for each in wanted if each[3] is not None]
        if len(named) != len(set(named)):
            return "GRANT_RESERVATION_INVALID"
        asked = [(f"g{grant_id}", who, micro, reservation) for grant_id, who, micro, reservation in wanted]
        if any(self.grants.get(name, (who, micro)) != (who, micro) for name, who, micro, _ in asked):
            return "GRANT_MISMATCH"
        new = [each for each in asked if each[0] not in self.grants]
        if new and not self.active:
            return "CAMPAIGN_NOT_ACTIVE"
        if wrong := next(filter(None, (self._use(*each[1:]) for each in new)), ""):
            return wrong
        free = [each for each in new if each[3] is None]
        if sum(each[2] for each in free) > self.available:
            return "BUDGET_EXHAUSTED"
        if any(self.taken[who] + sum(each[2] for each in free if each[1] == who) > CAP for who in (0, 1)):
            return "ACCOUNT_CAP"
        for name, who, micro, reservation in new:
            if reservation is None:
                self.available -= micro
                self.taken[who] += micro
            else:
                self.reservations[reservation][2] = "granted"
            self._make(name, who, micro)
        return f"granted {sum(each[2] for each in new)}"

    def _use(self, who: int, micro: int, reservation: int | None) -> str:
        if reservation is None:
            return ""
        held = self.reservations.get(reservation)
        if held is None:
            return "RESERVATION_UNKNOWN"
        if held[:2] != [who, micro]:
            return "RESERVATION_MISMATCH"
        return {"reserved": "", "granted": "RESERVATION_USED", "released": "RESERVATION_RELEASED"}[held[2]]

    def _make(self, grant_id: str, who: int, micro: int) -> None:
        self.grants[grant_id] = (who, micro)
        self.granted += micro
        self.lots.append([who, micro, micro])

    def open(self, name: int, wanted: int, *, less: bool) -> str:
        if earlier := self.staged.get(name):
            return "replayed" if earlier["asked"] == (wanted, less) else "STAGED_GRANT_MISMATCH"
        if not self.active:
            return "CAMPAIGN_NOT_ACTIVE"
        if self.available < wanted and not (less and self.available):
            return "BUDGET_EXHAUSTED"
        reserved = min(wanted, self.available)
        self.available -= reserved
        self.staged[name] = {"asked": (wanted, less), "reserved": reserved, "state": "open", "rows": {}}
        return f"reserved {reserved}"

    def _open(self, name: int) -> str:
        state = self.staged.get(name, {"state": "unknown"})["state"]
        return "" if state == "open" else f"STAGED_GRANT_{state.upper()}"

    def stage(self, name: int, grant_id: int, who: int, micro: int) -> str:
        if wrong := self._open(name):
            return wrong
        rows = self.staged[name]["rows"]
        key = f"s{name}-{grant_id}"
        if key in rows:
            return "done" if rows[key] == (who, micro) else "GRANT_MISMATCH"
        if who in {each[0] for each in rows.values()}:
            return "GRANT_ACCOUNT_TWICE"
        if sum(each[1] for each in rows.values()) + micro > self.staged[name]["reserved"]:
            return "STAGED_OVER_RESERVED"
        rows[key] = (who, micro)
        return "done"

    def commit(self, name: int, off_by: int) -> str:
        found = self.staged.get(name, {"rows": {}, "state": "unknown"})
        total = sum(each[1] for each in found["rows"].values()) + off_by
        if not found["rows"] or not total:
            return "STAGED_TOTAL_INVALID"
        if found["state"] == "committed":
            return "STAGED_GRANT_MISMATCH" if off_by else "replayed"
        if wrong := self._open(name):
            return wrong
        if not self.active:
            return "CAMPAIGN_NOT_ACTIVE"
        if off_by:
            return "STAGED_INCOMPLETE"
        if any(self.taken[who] + micro > CAP for who, micro in found["rows"].values()):
            return "ACCOUNT_CAP"
        found["state"] = "committed"
        self.available += found["reserved"] - total
        for grant_id, (who, micro) in found["rows"].items():
            self.taken[who] += micro
            self._make(grant_id, who, micro)
        return "done"

    def abandon(self, name: int) -> str:
        found = self.staged.get(name)
        if found and found["state"] == "abandoned":
            return "replayed"
        if wrong := self._open(name):
            return wrong
        self.available += self.staged[name]["reserved"]
        self.staged[name]["state"] = "abandoned"
        return "done"

    def spend(self, name: int, who: int, up_to: int) -> str:
        if earlier := self.burns.get(name):
            if earlier["asked"] != (who, up_to):
                return "BURN_MISMATCH"
            return "BURN_RETURNED" if earlier["returned"] else f"replayed {sum(earlier['parts'].values())}"
        if name in self.finalized:
            return "CHARGE_FINALIZED"
        parts: dict[int, int] = {}
        left = up_to
        for index, lot in enumerate(self.lots):
            if lot[0] == who and lot[2] and left:
                parts[index] = min(lot[2], left)
                lot[2] -= parts[index]
                left -= parts[index]
        self.burns[name] = {"asked": (who, up_to), "parts": parts, "returned": False}
        return f"burned {sum(parts.values())}"

    def put_back(self, name: int) -> str:
        burn = self.burns.get(name)
        if burn is None:
            return "BURN_UNKNOWN"
        if burn["returned"]:
            return "replayed"
        if name in self.finalized:
            return "CHARGE_FINALIZED"
        for index, micro in burn["parts"].items():
            self.lots[index][2] += micro
        burn["returned"] = True
        return "done"

    def finalize(self, name: int, promotional: int) -> str:
        if name in self.finalized:
            return "REPLAYED" if self.finalized[name] == promotional else "CHARGE_MISMATCH"
        burn = self.burns.get(name)
        if burn and not burn["returned"] and sum(burn["parts"].values()) > promotional:
            return "PROMOTIONAL_BELOW_BURNED"
        self.finalized[name] = promotional
        return "ORGANIC"


class Played:
    """The same steps on the real thing."""

    def __init__(self, mesh: Campaigns, campaign_id: str) -> None:
        self.mesh = mesh
        self.ledger = mesh.ledger
        self.campaign_id = campaign_id
        self.wanted = Wanted(campaign_id, None)
        self.own = uuid.uuid4().hex
        self.refs = [str(uuid.uuid4()) for _ in range(2)]

    def name(self, kind: str, number: object) -> str:
        return f"{kind}{number}-{self.own}"

    async def fund(self, micro: int) -> str:
        request = pb.FundCampaignRequest(**self.mesh.asked(self.campaign_id), amount_micro=micro)
        await campaigns.fund_campaign(self.ledger.postgres, self.ledger.clock, request, ORDER)
        return "done"

    async def move(self, to: CampaignState) -> str:
        asked = self.mesh.asked(self.campaign_id)
        if to is CampaignState.ACTIVE:
            activate = pb.ActivateCampaignRequest(**asked)
            await campaigns.activate_campaign(self.ledger.postgres, self.ledger.clock, activate, ORDER)
        else:
            pause = pb.PauseCampaignRequest(**asked)
            await campaigns.pause_campaign(self.ledger.postgres, self.ledger.clock, pause, ORDER)
        return "done"

    async def reserve(self, name: int, who: int, micro: int) -> str:
        made = await budgets.reserve(
            self.ledger.postgres, self.ledger.clock, self.wanted, self.name("r", name), self.refs[who], micro
        )
        return "replayed" if made.replayed else "done"

    async def release(self, name: int) -> str:
        released = await budgets.release(self.ledger.postgres, self.ledger.clock, self.name("r", name), "DENIED")
        return "replayed" if released.replayed else "done"

    async def grant(self, wanted: list[tuple[int, int, int, int | None]]) -> str:
        made = [
            Grant(
                self.name("g", grant_id),
                self.refs[who],
                micro,
                "" if reservation is None else self.name("r", reservation),
            )
            for grant_id, who, micro, reservation in wanted
        ]
        request = pb.BatchGrantRequest(
            request_id=str(uuid.uuid4()),
            campaign_id=self.campaign_id,
            grants=[pb.Grant(**each._asdict()) for each in made],
        )
        response = await grants.batch_grant(
            self.ledger.postgres, self.ledger.clock, request, grant_rules.check_grants(made)
        )
        return f"granted {response.granted_micro}"

    async def open(self, name: int, wanted: int, *, less: bool) -> str:
        opened = await staged.open_grant(
            self.ledger.postgres, self.ledger.clock, self.name("s", name), self.wanted, wanted, accept_less=less
        )
        return "replayed" if opened.replayed else f"reserved {opened.staged.reserved_micro}"

    async def stage(self, name: int, grant_id: int, who: int, micro: int) -> str:
        one = Grant(self.name("s", f"{name}-{grant_id}"), self.refs[who], micro, "")
        await staged.stage_grants(self.ledger.postgres, self.name("s", name), [one])
        return "done"

    async def commit(self, name: int, count: int, total: int) -> str:
        committed = await staged.commit_grant(
            self.ledger.postgres, self.ledger.clock, self.name("s", name), count, total
        )
        return "replayed" if committed.replayed else "done"

    async def abandon(self, name: int) -> str:
        abandoned = await staged.abandon_grant(self.ledger.postgres, self.ledger.clock, self.name("s", name), "ABORTED")
        return "replayed" if abandoned.replayed else "done"

    async def spend(self, name: int, who: int, up_to: int) -> str:
        burned = await burning.spend(
            self.ledger.postgres, self.ledger.clock, self.name("c", name), self.refs[who], up_to
        )
        return f"{'replayed' if burned.replayed else 'burned'} {burned.burn.spent_micro}"

    async def put_back(self, name: int) -> str:
        back = await burning.put_back(self.ledger.postgres, self.ledger.clock, self.name("c", name))
        return "replayed" if back.replayed else "done"

    async def finalize(self, name: int, promotional: int) -> str:
        return await self.ledger.try_finalize(charge(self.name("c", name), promotional_micro=promotional))


async def play(world: World, played: Played, kind: str, args: tuple[Any, ...]) -> tuple[str, str]:
    """One step on both sides: what should come of it, and what came of it."""
    if kind == "commit":
        rows = world.staged.get(args[0], {"rows": {}})["rows"]
        total = sum(micro for _, micro in rows.values()) + args[1]
        expected, real = world.commit(*args), played.commit(args[0], len(rows), total)
    elif kind == "open":
        expected, real = world.open(*args[:2], less=args[2]), played.open(*args[:2], less=args[2])
    else:
        name = {"return": "put_back"}.get(kind, kind)
        expected, real = getattr(world, name)(*args), getattr(played, name)(*args)
    try:
        return expected, await real
    except Refusal as refusal:
        return expected, refusal.reason


@pytest.fixture
async def mesh(database: Database) -> AsyncIterator[Campaigns]:
    async with (
        referral_running(await database("referral")) as referral,
        ledger_running(await database("distribution"), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        yield campaigns


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(step, min_size=5, max_size=40))
async def test_a_campaign_is_what_a_dict_says_it_is(mesh: Campaigns, steps: list[tuple[Any, ...]]) -> None:
    await mesh.ledger.execute("UPDATE campaigns SET state = 3 WHERE state = 2")
    campaign_id = await mesh.active(0, cap_micro=CAP)
    world, played = World(), Played(mesh, campaign_id)
    for kind, *args in steps:
        expected, came = await play(world, played, kind, tuple(args))
        assert (kind, args, came) == (kind, args, expected)
    found = await mesh.get(campaign_id)
    assert (found.available_micro, found.reserved_micro, found.granted_micro) == (
        world.available, world.reserved(), world.granted
    )  # fmt: skip
    balances = await mesh.ledger.balances()
    for who, account_ref in enumerate(played.refs):
        left = sum(lot[2] for lot in world.lots if lot[0] == who)
        assert balances.get(f"credits:{account_ref}:referral:signup", 0) == left
    await mesh.check_books()
