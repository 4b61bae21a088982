"""One contract of the provider's API, which client and simulator keep: written from what is known of it."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import pytest

from libs.clock import ManualClock
from services.payout.provider.client import Client
from services.payout.provider.rows import Standing
from services.payout.provider.signatures import verified
from services.payout.provider.trouble import AlreadyThere, NotNow, NotThere, Refused, Trouble, Unknown
from tests.support.provider import (
    EVM,
    IPN_SECRET,
    NOW,
    TRON,
    Running,
    client_of,
    impatient,
    provider_running,
    state_of,
    wanted,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def running(clock: ManualClock) -> AsyncIterator[Running]:
    async with provider_running(clock) as provider:
        yield provider


@pytest.fixture
async def client(running: Running, clock: ManualClock) -> AsyncIterator[Client]:
    async with client_of(running, clock) as made:
        yield made


async def test_a_payout_goes_its_way(client: Client, clock: ManualClock, running: Running) -> None:
    row = await client.create(wanted())
    assert (row.standing, row.amount, row.unique_external_id) == (Standing.CREATED, Decimal("19.66923"), "po-1")
    assert row.batch_id != row.provider_id
    assert not row.was_verified
    await client.verify(row.batch_id, clock.now())
    seen = []
    for _ in range(4):
        seen.append(await state_of(client, row))
        clock.advance(timedelta(minutes=1))
    assert seen == ["WAITING", "PROCESSING", "SENDING", "FINISHED"]
    (final,) = await client.look_up(row.provider_id)
    assert final.transaction_hash
    assert final.was_verified
    assert (final.fee, final.fee_paid_by) == (Decimal("1.327659"), "sender")
    assert running.sent == Decimal("19.66923")


async def test_an_amount_is_a_number_of_at_most_six_decimals(client: Client) -> None:
    row = await client.create(wanted(amount="12345.678901"))
    assert row.amount == Decimal("12345.678901")
    with pytest.raises(ValueError, match="six"):
        await client.create(wanted("po-2", "1.1234567"))


async def test_an_external_id_is_taken_for_ever(client: Client, clock: ManualClock) -> None:
    await client.create(wanted())
    clock.advance(2 * HOUR)
    with pytest.raises(AlreadyThere):
        await client.create(wanted())


async def test_what_is_not_verified_is_rejected_after_an_hour(client: Client, clock: ManualClock) -> None:
    row = await client.create(wanted())
    clock.advance(HOUR - timedelta(seconds=1))
    assert await state_of(client, row) == "CREATING"
    clock.advance(timedelta(seconds=1))
    assert await state_of(client, row) == "REJECTED"
    with pytest.raises(Refused):
        await client.verify(row.batch_id, clock.now())


async def test_a_code_is_good_for_one_batch(client: Client, clock: ManualClock) -> None:
    first, second = await client.create(wanted("a")), await client.create(wanted("b"))
    await client.verify(first.batch_id, clock.now())
    with pytest.raises(Refused):
        await client.verify(second.batch_id, clock.now())
    clock.advance(timedelta(seconds=30))
    await client.verify(second.batch_id, clock.now())


async def test_a_wrong_code_is_refused_ten_times_and_then_for_good(client: Client, clock: ManualClock) -> None:
    row = await client.create(wanted())
    for _ in range(10):
        with pytest.raises(Refused):
            await client.verify(row.batch_id, clock.now() - HOUR)
    with pytest.raises(Refused):
        await client.verify(row.batch_id, clock.now())
    assert await state_of(client, row) == "CREATING"


async def test_a_batch_is_verified_by_its_own_id(client: Client, clock: ManualClock) -> None:
    row = await client.create(wanted())
    with pytest.raises(NotThere):
        await client.verify(row.provider_id, clock.now())


async def test_what_nobody_made_is_not_there(client: Client) -> None:
    with pytest.raises(NotThere):
        await client.look_up("5009999999")
    with pytest.raises(NotThere):
        await client.payment("6009999999")


@pytest.mark.parametrize("name", ["../balance", "1/verify", "", "a b", "é", "1" * 50])
async def test_an_id_never_changes_where_a_call_goes(client: Client, running: Running, name: str) -> None:
    with pytest.raises(Refused, match="ID_INVALID"):
        await client.look_up(name)


async def test_refusals_say_whether_they_may_pass(client: Client, running: Running) -> None:
    with pytest.raises(Refused) as address:
        await client.create(wanted(address="T123"))
    assert not isinstance(address.value, NotNow)
    with pytest.raises(NotNow, match="BELOW_PROVIDER_MINIMUM"):
        await client.create(wanted(amount="1"))
    with pytest.raises(NotNow, match="INSUFFICIENT_BALANCE"):
        await client.create(wanted(amount="100001"))
    assert running.rows == []


@pytest.mark.parametrize(
    ("kind", "more", "outcome", "made"),
    [
        ("drop_before", {}, Unknown, 0),
        ("drop_after", {}, Unknown, 1),
        ("hang_before", {"seconds": 1.2}, Unknown, 0),
        ("hang_after", {"seconds": 1.2}, Unknown, 1),
        ("error_before", {}, Unknown, 0),
        ("error_after", {}, Unknown, 1),
        ("cut_json", {}, Unknown, 1),
        ("busy", {}, NotNow, 0),
        ("forbidden", {}, NotNow, 0),
        ("expired", {"times": 2}, NotNow, 0),
        ("refused", {"message": "unique_external_id already exists"}, AlreadyThere, 0),
        ("refused", {"message": "whatever"}, Refused, 0),
        ("refused", {"message": "address is not whitelisted"}, NotNow, 0),
    ],
)
async def test_every_fault_of_create_ends_as_one_of_three(
    client: Client, running: Running, kind: str, more: dict[str, object], outcome: type[Trouble], made: int
) -> None:
    if "seconds" in more:
        await client.balances()
        impatient(client)
    running.fault("create", kind, **more)
    with pytest.raises(Trouble) as ended:
        await client.create(wanted())
    assert type(ended.value) is outcome
    assert len(running.rows) == made


async def test_what_is_unknown_is_found_by_paging(client: Client, running: Running, clock: ManualClock) -> None:
    running.fault("create", "drop_after")
    with pytest.raises(Unknown):
        await client.create(wanted("lost"))
    for number in range(250):
        clock.advance(timedelta(seconds=1))
        await client.create(wanted(f"po-{number}", "11"))
    found = await client.find("lost", NOW - timedelta(minutes=5))
    assert found is not None
    assert found.amount == Decimal("19.66923")
    assert len(await client.rows_since(NOW)) == 251
    assert await client.find("never", NOW - timedelta(minutes=5)) is None


async def test_what_is_hidden_is_not_listed_and_still_taken(client: Client, running: Running) -> None:
    running.fault("create", "forget")
    row = await client.create(wanted())
    assert await client.find("po-1", NOW - HOUR) is None
    with pytest.raises(NotThere):
        await client.look_up(row.batch_id)
    with pytest.raises(AlreadyThere):
        await client.create(wanted())


async def test_an_old_token_is_renewed_in_time(client: Client, running: Running, clock: ManualClock) -> None:
    await client.create(wanted("a"))
    clock.advance(timedelta(seconds=271))  # 29 seconds before its end
    await client.create(wanted("b"))
    assert running.calls("auth") == 2


async def test_a_token_that_is_called_old_is_renewed_once(client: Client, running: Running) -> None:
    running.fault("create", "expired")
    await client.create(wanted())
    assert (running.calls("auth"), running.calls("create"), len(running.rows)) == (2, 2, 1)


@pytest.mark.parametrize("kind", ["drop_after", "error_before", "busy", "cut_json", "hang_before"])
async def test_whatever_happens_at_login_nothing_was_done(client: Client, running: Running, kind: str) -> None:
    if kind == "hang_before":
        impatient(client)
    running.fault("auth", kind, seconds=1.2 if kind == "hang_before" else 0)
    with pytest.raises(NotNow):
        await client.create(wanted())
    assert running.calls("create") == 0


async def test_wrong_keys_are_told_apart_from_refused_payouts(running: Running, clock: ManualClock) -> None:
    for wrong in ({"password": "other"}, {"api_key": "other"}):
        async with client_of(running, clock, **wrong) as client:
            with pytest.raises(NotNow):
                await client.create(wanted())


async def test_a_provider_that_is_not_there_did_nothing(running: Running, clock: ManualClock) -> None:
    away = Running(running.provider, "http://127.0.0.1:9/v1")
    async with client_of(away, clock) as client:
        with pytest.raises(NotNow, match="NOT_REACHED"):
            await client.create(wanted())


@pytest.mark.parametrize("kind", ["as_json", "slow"])
async def test_any_answer_to_a_verification_is_a_yes(
    client: Client, running: Running, clock: ManualClock, kind: str
) -> None:
    row = await client.create(wanted())
    running.fault("verify", kind)
    await client.verify(row.batch_id, clock.now())
    assert await state_of(client, row) == "WAITING"


async def test_a_lost_yes_is_seen_by_looking(client: Client, running: Running, clock: ManualClock) -> None:
    row = await client.create(wanted())
    running.fault("verify", "drop_after")
    with pytest.raises(Unknown):
        await client.verify(row.batch_id, clock.now())
    (found,) = await client.look_up(row.batch_id)
    assert found.was_verified


@pytest.mark.parametrize("kind", ["camel", "lower", "bare_list"])
async def test_every_spelling_of_a_row_is_read(client: Client, running: Running, kind: str) -> None:
    row = await client.create(wanted())
    running.fault("look_up", kind)
    (found,) = await client.look_up(row.batch_id)
    assert found == row


@pytest.mark.parametrize("word", ["REJECTED_NOT_CHECKED", "SOMETHING", "", "X" * 500])
async def test_a_word_that_nobody_knows_is_no_outcome(client: Client, running: Running, word: str) -> None:
    row = await client.create(wanted())
    running.rows[0].shown = word
    (found,) = await client.look_up(row.batch_id)
    assert found.standing is (Standing.UNHEARD if word else Standing.CREATED)
    assert not found.standing.is_final


async def test_failed_may_still_be_sent(client: Client, running: Running, clock: ManualClock) -> None:
    running.fault("create", "fail")
    row = await client.create(wanted())
    await client.verify(row.batch_id, clock.now())
    clock.advance(HOUR)
    (failed,) = await client.look_up(row.batch_id)
    assert (failed.standing, failed.standing.is_final) == (Standing.FAILED, False)
    running.provider.book.move(running.rows[0], "FINISHED")
    assert await state_of(client, row) == "FINISHED"


async def test_look_ups_of_prices_are_exact(client: Client) -> None:
    assert await client.fee("usdttrc20", Decimal(500)) == Decimal("1.327659")
    assert await client.minimum("usdttrc20") == Decimal("10.98424792")
    assert await client.estimate(Decimal(10), "trx") == Decimal("35.71428571")
    assert (await client.balances())["usdttrc20"].amount == Decimal(100_000)
    with pytest.raises(Refused):
        await client.fee("nothing", Decimal(1))


async def test_addresses_are_checked_for_their_currency(client: Client) -> None:
    assert await client.check_address(TRON, "usdttrc20", "")
    assert await client.check_address(EVM, "usdcmatic", "")
    assert not await client.check_address(EVM, "usdttrc20", "")


async def test_custody_pays_the_fee_on_top_or_the_receiver_pays_it(
    client: Client, running: Running, clock: ManualClock
) -> None:
    held = running.provider.merchant.coin("usdttrc20")
    row = await client.create(wanted(amount="100"))
    await client.verify(row.batch_id, clock.now())
    assert (held.amount, held.pending) == (Decimal(99_900), Decimal(100))
    clock.advance(HOUR)
    assert await state_of(client, row) == "FINISHED"
    assert (held.amount, held.pending) == (Decimal("99898.672341"), Decimal(0))
    running.provider.merchant.fee_paid_by = "receiver"
    row = await client.create(wanted("po-2", "100"))
    await client.verify(row.batch_id, clock.now())
    clock.advance(HOUR)
    assert await state_of(client, row) == "FINISHED"
    assert held.amount == Decimal("99798.672341")


async def test_each_change_is_called_back_signed(client: Client, running: Running, clock: ManualClock) -> None:
    row = await client.create(wanted())
    await client.verify(row.batch_id, clock.now())
    clock.advance(HOUR)
    running.provider.pass_time()
    made = running.provider.callbacks.made
    bodies = [verified(each.body, each.signature, [IPN_SECRET]) for each in made]
    assert [body["status"] for body in bodies if body] == ["CREATING", "WAITING", "PROCESSING", "SENDING", "FINISHED"]
    assert all(json.loads(each.body)["batch_withdrawal_id"] == row.batch_id for each in made)
    assert all(b"unique_external_id" not in each.body for each in made)


async def test_a_payment_is_a_number_where_it_is_read(client: Client, running: Running) -> None:
    payments = running.provider.payments
    made = payments.create({
        "price_amount": "12.5", "price_currency": "usd", "pay_currency": "usdttrc20", "order_id": "ord-1",
    })  # fmt: skip
    assert (await client.payment(str(made.payment_id))).word == "waiting"
    payments.move(made.payment_id, {"status": "finished"})
    found = await client.payment(str(made.payment_id))
    assert (found.word, found.price_amount, found.actually_paid) == ("finished", Decimal("12.5"), Decimal("12.5"))
    child = payments.repeat(made.payment_id, {"pay_currency": "trx"})
    other = await client.payment(str(child.payment_id))
    assert (other.parent_payment_id, other.pay_currency) == (str(made.payment_id), "trx")
    body = running.provider.callbacks.made[-1]
    assert verified(body.body, body.signature, [IPN_SECRET]) is not None


async def test_no_secret_is_shown(running: Running) -> None:
    shown = repr(running.access())
    assert not any(secret in shown for secret in ("'key'", "Secret'", running.provider.merchant.totp_secret))
