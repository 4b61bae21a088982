"""Bonuses: earned once, held, checked, granted or denied, with both sides real."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from libs.refusals import Refusal
from services.referral.commands import bonuses, qualifying
from services.referral.model import Standing
from services.referral.model.bonuses import ActionKind, BonusTerms, Purchase
from tests.conftest import Database
from tests.support.bonuses import BONUS, DAY, DOLLAR, Bonuses, Killed, Replica, bonuses_running


@pytest.fixture
async def mesh(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bonuses]:
    async with bonuses_running(database, monkeypatch) as mesh:
        yield mesh


async def test_the_first_action_that_is_large_enough_earns_the_referrer_a_bonus(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    await mesh.bind("referee")
    assert [(await mesh.act("referee", paid)).outcome for paid in (BONUS - 1, BONUS, 2 * BONUS)] == [
        "below_minimum",
        "bonus",
        "not_first",
    ]
    [row] = await mesh.commands.rows("SELECT * FROM bonuses")
    assert (row["referrer_ref"], row["amount_micro"]) == (await mesh.ref("creator"), BONUS)
    await mesh.replica.run()
    mesh.clock.advance(7 * DAY - timedelta(microseconds=1))
    await mesh.replica.run()
    assert await mesh.told(row["bonus_id"]) == [("PENDING", "")]
    assert await mesh.stands(row["bonus_id"]) == ("pending", "", "reserved")
    mesh.clock.advance(timedelta(microseconds=1))
    await mesh.replica.run()
    assert await mesh.stands(row["bonus_id"]) == ("granted", "", "granted")
    assert await mesh.told(row["bonus_id"]) == [("PENDING", ""), ("GRANTED", "")]
    assert await mesh.credits_of("creator") == {"referral:signup": BONUS}


async def test_each_kind_of_action_has_its_minimum(mesh: Bonuses) -> None:
    for number, (kind, paid_micro, outcome) in enumerate(
        [
            (ActionKind.DNFT_MINT, 0, "below_minimum"),
            (ActionKind.DNFT_MINT, DOLLAR - 1, "below_minimum"),
            (ActionKind.DNFT_MINT, DOLLAR, "bonus"),
            (ActionKind.CREDIT_PURCHASE, 5 * DOLLAR - 1, "below_minimum"),
            (ActionKind.CREDIT_PURCHASE, 5 * DOLLAR, "bonus"),
        ]
    ):
        await mesh.bind(f"referee-{number}")
        assert (await mesh.act(f"referee-{number}", paid_micro, kind=kind)).outcome == outcome


async def test_an_account_without_a_referrer_earns_nobody_anything(mesh: Bonuses) -> None:
    await mesh.commands.resolve("organic")
    assert [(await mesh.act(name)).outcome for name in ("organic", "never seen")] == ["organic", "organic"]
    await mesh.bind("never seen")  # asking decided nothing about it
    before = mesh.clock.now() - timedelta(hours=1)
    assert (await mesh.act("never seen", occurred_at=before)).outcome == "organic"
    assert (await mesh.act("never seen")).outcome == "bonus"


async def test_the_same_action_again_changes_nothing_and_another_one_of_its_id_is_refused(mesh: Bonuses) -> None:
    await mesh.bind("referee")
    first = await mesh.act("referee", action_id="mint-1")
    again = await mesh.act("referee", action_id="mint-1")
    assert (again.outcome, again.bonus, again.replayed) == (first.outcome, first.bonus, True)
    for other in ({"paid_micro": BONUS + 1}, {"account_id": "somebody"}):
        asked = {"account_id": "referee", "paid_micro": BONUS} | other
        with pytest.raises(Refusal) as refused:
            await mesh.act(action_id="mint-1", **asked)  # type: ignore[arg-type]
        assert refused.value.reason == "ACTION_MISMATCH"
    with pytest.raises(Refusal) as early:
        await mesh.act("referee", occurred_at=mesh.clock.now() + timedelta(minutes=6))
    assert early.value.reason == "ACTION_TIME_INVALID"


async def test_many_actions_of_one_referee_at_once_earn_one_bonus(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    await mesh.bind("referee")
    reports = [mesh.act("referee", action_id=f"action-{number % 4}") for number in range(12)]
    purchases = [mesh.buy("referee", BONUS, f"order-{number % 2}") for number in range(4)]
    recorded, _ = await asyncio.gather(asyncio.gather(*reports), asyncio.gather(*purchases))
    assert {each.outcome for each in recorded} <= {"bonus", "not_first"}
    assert await mesh.states() == Counter(pending=1)
    await mesh.pass_hold()
    await mesh.replica.run()
    assert await mesh.credits_of("creator") == {"referral:signup": BONUS}


async def test_the_cap_of_a_referrer_is_exact_at_any_number_at_once(mesh: Bonuses) -> None:
    await mesh.campaigns.active(1000 * DOLLAR)
    referees = [f"referee-{number}" for number in range(25)]
    for referee in referees:
        await mesh.bind(referee)
    await asyncio.gather(*(mesh.act(referee) for referee in referees))
    rows = await mesh.commands.rows("SELECT state, reason, budget FROM bonuses")
    assert Counter(map(tuple, (row.values() for row in rows))) == {
        ("pending", "", "asked"): 20,
        ("denied", "REFERRER_CAP", "none"): 5,
    }
    [other] = await mesh.earn("somebody else's", referrer="other")
    assert (await mesh.stands(other))[0] == "pending"
    mesh.clock.advance(30 * DAY - timedelta(microseconds=1))
    [late] = await mesh.earn("late")
    assert await mesh.stands(late) == ("denied", "REFERRER_CAP", "none")
    mesh.clock.advance(timedelta(microseconds=1))
    [free] = await mesh.earn("later")
    assert (await mesh.stands(free))[0] == "pending"
    await mesh.replica.run()


async def test_a_budget_that_runs_out_among_many_reservations_is_never_passed(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(7 * BONUS + 1)
    made = await mesh.earn(*(f"referee-{number}" for number in range(12)))
    replicas = [Replica(mesh) for _ in range(3)]
    await asyncio.gather(*(replica.budgets.reserve_all(mesh.clock.now()) for replica in replicas))
    assert Counter([await mesh.stands(bonus_id) for bonus_id in made]) == {
        ("pending", "", "reserved"): 7,
        ("denied", "BUDGET_EXHAUSTED", "releasing"): 5,
    }
    await mesh.assert_bounded()
    await mesh.pass_hold()
    await mesh.replica.run()
    assert Counter([(await mesh.stands(bonus_id))[2] for bonus_id in made]) == {"granted": 7, "released": 5}
    campaign = await mesh.campaigns.get(campaign_id)
    assert (campaign.available_micro, campaign.reserved_micro, campaign.granted_micro) == (1, 0, 7 * BONUS)


async def test_a_bonus_waits_for_a_distribution_that_is_away_and_for_a_campaign_that_is_paused(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    [bonus_id] = await mesh.earn("referee")
    mesh.link.away = True
    await mesh.replica.run()
    assert await mesh.stands(bonus_id) == ("pending", "", "asked")
    mesh.link.heal()
    await mesh.campaigns.pause(campaign_id)
    await mesh.replica.run()
    assert await mesh.stands(bonus_id) == ("pending", "", "asked")
    assert await mesh.told(bonus_id) == []
    mesh.clock.advance(8 * DAY)
    await mesh.replica.run()
    assert await mesh.stands(bonus_id) == ("pending", "", "asked")
    await mesh.campaigns.activate(campaign_id)
    await mesh.replica.run()
    assert await mesh.stands(bonus_id) == ("granted", "", "granted")


@pytest.mark.parametrize("method", ["ReserveBudget", "BatchGrant", "ReleaseBudget"])
async def test_a_job_that_dies_between_its_two_sides_is_finished_once(mesh: Bonuses, method: str) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    for cut in ("killed_before", "killed_after", "lost"):
        await _die(mesh, method, cut)
    campaign = await mesh.campaigns.get(campaign_id)
    assert (campaign.reserved_micro, campaign.granted_micro) == (0, 3 * BONUS)


async def _die(mesh: Bonuses, method: str, cut: str) -> None:
    creator, good, bad = f"creator {cut}", f"good {cut}", f"bad {cut}"
    granted, denied = await mesh.earn(good, bad, referrer=creator)
    mesh.suspicious.add(await mesh.ref(bad))
    getattr(mesh.link, cut).add(method)
    await _run(mesh, cut)
    if method == "ReserveBudget":
        mesh.link.heal()
    await _run(mesh, cut)
    mesh.clock.advance(7 * DAY)
    for _ in range(2):
        await _run(mesh, cut)
        if (await mesh.row(denied))["state"] == "withheld":
            await mesh.review(denied, cleared=False)
        await mesh.assert_bounded()
        mesh.link.heal()
    await _run(mesh, cut)
    assert await mesh.stands(granted) == ("granted", "", "granted")
    assert await mesh.stands(denied) == ("denied", "CONFIRMED", "released")
    assert await mesh.credits_of(creator) == {"referral:signup": BONUS}


async def _run(mesh: Bonuses, cut: str) -> None:
    try:
        await mesh.replica.run()
    except Killed:
        assert cut.startswith("killed")


async def test_jobs_of_two_replicas_at_once_grant_each_bonus_once(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    await mesh.earn(*(f"referee-{number}" for number in range(15)))
    replicas = [Replica(mesh) for _ in range(2)]
    await asyncio.gather(*(replica.run() for replica in replicas))
    mesh.clock.advance(7 * DAY)
    await asyncio.gather(*(replica.run() for replica in replicas))
    await mesh.replica.run()
    assert await mesh.states() == Counter(granted=15)
    assert await mesh.credits_of("creator") == {"referral:signup": 15 * BONUS}


async def test_one_refused_grant_does_not_hold_up_the_others(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    made = await mesh.earn(*(f"referee-{number}" for number in range(6)))
    await mesh.pass_hold()
    for wrong in (made[1], made[4]):
        await mesh.campaigns.release(str(wrong))  # behind referral's back
    await mesh.replica.run()
    assert [(await mesh.row(bonus_id))["state"] for bonus_id in made] == [
        "granted", "pending", "granted", "granted", "pending", "granted",
    ]  # fmt: skip
    assert (await mesh.row(made[1]))["sent_at"] is None
    assert mesh.link.calls["BatchGrant"] == 3
    await mesh.replica.run()  # left alone for a while
    assert mesh.link.calls["BatchGrant"] == 3


async def test_a_paused_campaign_grants_later_but_what_it_granted_before_is_found_out(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    first, second, third = await mesh.earn("one", "two", "three")
    mesh.unjudged.add(await mesh.ref("three"))
    await mesh.pass_hold()
    mesh.link.lost.add("BatchGrant")
    await mesh.replica.run()  # two are granted, the answer is lost
    mesh.link.heal()
    mesh.unjudged.clear()
    mesh.clock.advance(timedelta(minutes=5))
    await mesh.campaigns.pause(campaign_id)
    await mesh.replica.run()  # all three in one batch
    assert [(await mesh.row(each))["state"] for each in (first, second, third)] == ["granted", "granted", "pending"]
    assert (await mesh.row(third))["sent_at"] is None
    await mesh.campaigns.activate(campaign_id)
    mesh.clock.advance(timedelta(minutes=10))
    await mesh.replica.run()
    assert (await mesh.row(third))["state"] == "granted"


async def test_a_check_that_fails_keeps_its_bonus_pending_and_not_the_others(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    broken, fine = await mesh.earn("broken", "fine")
    mesh.unjudged.add(await mesh.ref("broken"))
    await mesh.pass_hold()
    await mesh.replica.run()
    mesh.clock.advance(365 * DAY)
    await mesh.replica.run()
    assert [(await mesh.row(each))["state"] for each in (broken, fine)] == ["pending", "granted"]
    mesh.unjudged.clear()
    mesh.clock.advance(timedelta(minutes=5))
    await mesh.replica.run()
    assert (await mesh.row(broken))["state"] == "granted"


async def test_nothing_flagged_is_released_by_time_but_by_a_reviewer(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    cleared, confirmed, waiting = await mesh.earn("one", "two", "three")
    for name in ("one", "two", "three"):
        mesh.suspicious.add(await mesh.ref(name))
    await mesh.pass_hold()
    await mesh.replica.run()
    mesh.clock.advance(365 * DAY)
    await mesh.replica.run()
    assert await mesh.states() == Counter(withheld=3)
    await mesh.review(cleared, cleared=True)
    assert await mesh.stands(cleared) == ("withheld", "FLAGGED", "reserved")
    await mesh.review(confirmed, cleared=False)
    await mesh.replica.run()
    assert await mesh.told(cleared) == [("PENDING", ""), ("WITHHELD", "FLAGGED"), ("GRANTED", "")]
    assert await mesh.told(confirmed) == [("PENDING", ""), ("WITHHELD", "FLAGGED"), ("DENIED", "CONFIRMED")]
    assert await mesh.stands(confirmed) == ("denied", "CONFIRMED", "released")
    assert (await mesh.row(waiting))["state"] == "withheld"
    with pytest.raises(Refusal) as refused:
        await mesh.review(cleared, cleared=True)
    assert refused.value.reason == "BONUS_NOT_WITHHELD"
    with pytest.raises(Refusal) as unknown:
        await mesh.review(uuid.uuid4(), cleared=True)
    assert unknown.value.reason == "BONUS_UNKNOWN"


async def test_a_sanctioned_referrer_is_granted_nothing_until_it_is_reinstated(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    [bonus_id] = await mesh.earn("referee")
    await mesh.pass_hold()
    for standing in (Standing.BONUSES_ON_HOLD, Standing.SUSPENDED):
        await mesh.stand("creator", standing)
        await mesh.replica.run()
        mesh.clock.advance(365 * DAY)
        await mesh.replica.run()
        assert (await mesh.row(bonus_id))["state"] == "pending"
    await mesh.stand("creator", Standing.GOOD)
    await mesh.replica.run()
    assert (await mesh.row(bonus_id))["state"] == "granted"


async def test_a_forfeited_referrer_loses_what_is_not_decided(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    one, two = await mesh.earn("one", "two")
    await mesh.replica.run()
    [asked] = await mesh.earn("three")
    async with mesh.commands.postgres.transaction() as connection:
        assert await bonuses.deny_open(connection, await mesh.ref("creator"), "FRAUD", mesh.clock.now()) == 3
    assert [await mesh.stands(each) for each in (one, two, asked)] == [("denied", "FRAUD", "releasing")] * 3
    mesh.clock.advance(timedelta(minutes=1))
    await mesh.replica.run()
    assert [(await mesh.stands(each))[2] for each in (one, two, asked)] == ["released"] * 3
    [late] = await mesh.earn("four")
    await mesh.pass_hold()
    await mesh.stand("creator", Standing.FORFEITED)
    await mesh.replica.run()
    assert (await mesh.stands(late))[:2] == ("denied", "REFERRER_FORFEITED")
    await mesh.replica.run()
    campaign = await mesh.campaigns.get(campaign_id)
    assert (campaign.available_micro, campaign.reserved_micro) == (100 * DOLLAR, 0)


async def test_a_confirmed_purchase_earns_a_bonus_and_its_refund_within_the_hold_denies_it(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    await mesh.bind("referee")
    await mesh.buy("referee", 20 * DOLLAR, "partly paid", confirmed=False)
    await mesh.buy("referee", BONUS - 1, "small")
    assert await mesh.states() == Counter()
    await mesh.buy("referee", 20 * DOLLAR, "order")
    await mesh.buy("referee", 20 * DOLLAR, "order")
    [row] = await mesh.commands.rows("SELECT * FROM bonuses")
    await mesh.replica.run()
    await mesh.buy("referee", BONUS, "order", confirmed=False, refunded=True)  # still enough
    assert (await mesh.stands(row["bonus_id"]))[0] == "pending"
    await mesh.buy("referee", BONUS - 1, "order", confirmed=False, refunded=True)
    assert await mesh.stands(row["bonus_id"]) == ("denied", "REFUNDED", "releasing")
    await mesh.pass_hold()
    await mesh.replica.run()
    assert await mesh.told(row["bonus_id"]) == [("PENDING", ""), ("DENIED", "REFUNDED")]
    campaign = await mesh.campaigns.get(campaign_id)
    assert (campaign.available_micro, campaign.reserved_micro) == (100 * DOLLAR, 0)


async def test_a_purchase_that_was_partly_paid_back_still_counts_where_enough_is_left(mesh: Bonuses) -> None:
    for name in ("enough", "too little", "never confirmed"):
        await mesh.bind(name)
    at = mesh.clock.now()

    async def told(name: str, *events: tuple[bool, int, bool]) -> int:
        ref = await mesh.ref(name)
        batch = [Purchase(f"order of {name}", ref, confirmed, net, refunded, at) for confirmed, net, refunded in events]
        async with mesh.commands.postgres.transaction() as connection:
            await qualifying.take_purchases(connection, batch, now=at, terms=mesh.terms)
        return len(await mesh.commands.rows("SELECT FROM bonuses WHERE referee_ref = $1", ref))

    assert await told("enough", (True, 20 * DOLLAR, False), (False, 6 * DOLLAR, True)) == 1
    assert await told("too little", (True, 20 * DOLLAR, False), (False, 4 * DOLLAR, True)) == 0
    assert await told("never confirmed", (False, 20 * DOLLAR, False), (False, 10 * DOLLAR, True)) == 0
    # What billing reports afterwards is taken net of what was paid back.
    assert (await mesh.act("too little", 20 * DOLLAR, "order of too little")).outcome == "below_minimum"


async def test_a_refund_that_comes_while_a_grant_is_under_way_waits_for_its_answer(mesh: Bonuses) -> None:
    campaign_id = await mesh.campaigns.active(100 * DOLLAR)
    await mesh.bind("granted")
    await mesh.bind("refused")
    await mesh.buy("granted", BONUS, "order-1")
    await mesh.pass_hold()
    mesh.link.lost.add("BatchGrant")
    await mesh.replica.run()
    await mesh.buy("granted", 0, "order-1", refunded=True)
    assert (await mesh.states()) == Counter(pending=1)
    mesh.link.heal()
    await mesh.replica.run()
    assert (await mesh.states()) == Counter(granted=1)
    await mesh.buy("refused", BONUS, "order-2")
    await mesh.pass_hold()
    mesh.link.away = False
    mesh.link.killed_before.add("BatchGrant")
    with pytest.raises(Killed):
        await mesh.replica.run()
    await mesh.buy("refused", 0, "order-2", refunded=True)
    mesh.link.heal()
    await mesh.campaigns.pause(campaign_id)
    await mesh.replica.run()
    assert (await mesh.states()) == Counter(granted=1, denied=1)


async def test_a_batch_of_events_with_many_purchases_is_taken_once(mesh: Bonuses) -> None:
    refs = [await mesh.bind(f"referee-{number}", f"creator-{number % 3}") for number in range(9)]
    at = mesh.clock.now()
    halves = [
        [Purchase(f"order-{half}-{number}", ref, True, BONUS, False, at) for number, ref in enumerate(refs)]
        for half in range(2)
    ]

    async def take(batch: list[Purchase]) -> None:
        async with mesh.commands.postgres.transaction() as connection:
            await qualifying.take_purchases(connection, batch, now=at, terms=mesh.terms)

    await asyncio.gather(take(halves[0]), take(halves[1][::-1]))
    await take(halves[0])
    assert await mesh.states() == Counter(pending=9)


async def test_the_schema_itself_refuses_a_reward_that_nothing_earned(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    [bonus_id] = await mesh.earn("referee")
    await mesh.replica.run()
    for statement in (
        "UPDATE bonuses SET state = 'granted', budget = 'granted', lot_id = bonus_id",
        "UPDATE bonuses SET amount_micro = 1",
        "UPDATE bonuses SET referrer_ref = gen_random_uuid()",
        "DELETE FROM bonuses",
        "TRUNCATE bonuses",
        """
        INSERT INTO bonuses (bonus_id, referee_ref, referrer_ref, source, kind, action_id, amount_micro, created_at,
            hold_until, changed_at, budget)
        SELECT gen_random_uuid(), gen_random_uuid(), referrer_ref, source, kind, action_id, amount_micro, created_at,
            hold_until, changed_at, 'asked' FROM bonuses
        """,
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await mesh.commands.execute(statement)
    mesh.suspicious.add(await mesh.ref("referee"))
    mesh.clock.advance(7 * DAY)
    await mesh.replica.run()
    with pytest.raises(asyncpg.CheckViolationError):
        await mesh.commands.execute("UPDATE bonuses SET cleared_at = now(), cleared_by = 'checks'")
    assert (await mesh.row(bonus_id))["state"] == "withheld"


async def test_terms_are_settings(mesh: Bonuses) -> None:
    await mesh.campaigns.active(100 * DOLLAR)
    mesh.terms = BonusTerms(amount_micro=7, mint_minimum_micro=3, hold=timedelta(hours=1), cap=1)
    await mesh.bind("one")
    await mesh.bind("two")
    assert (await mesh.act("one", 2, kind=ActionKind.DNFT_MINT)).outcome == "below_minimum"
    first = await mesh.act("one", 3, kind=ActionKind.DNFT_MINT)
    second = await mesh.act("two")
    assert (first.bonus.amount_micro, second.bonus.reason) == (7, "REFERRER_CAP")
    await mesh.pass_hold()
    await mesh.replica.run()
    assert await mesh.credits_of("creator") == {"referral:signup": 7}
