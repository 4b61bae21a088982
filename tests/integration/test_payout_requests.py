"""Payouts asked for, confirmed, cancelled, retried: through the real doors, beside the real ledger and referral."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from libs import rpc
from protos.payout.v1 import admin_pb2, events_pb2, payout_pb2
from protos.referral.v1.events_pb2 import STANDING_SUSPENDED
from services.payout.commands import standing
from tests.conftest import Database
from tests.support.payout import DOLLAR, OLGA, TRON, Payouts, key, payouts_running, said, signed, wallet

DAY = timedelta(days=1)


@pytest.fixture
async def payouts(database: Database) -> AsyncIterator[Payouts]:
    async with payouts_running(database) as running:
        yield running


async def test_a_payout_is_asked_for_confirmed_sent_and_debited_once(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator, 40 * DOLLAR)
    assert asked.state == events_pb2.PAYOUT_STATE_PENDING
    assert asked.stage == events_pb2.PAYOUT_STAGE_AWAITING_CONFIRMATION
    assert asked.confirmation.text
    assert (asked.amount_micro, asked.fee_micro + asked.net_micro) == (40 * DOLLAR, 40 * DOLLAR)
    assert await payouts.held(creator) == 40 * DOLLAR
    assert payouts.running.calls("create") == 0
    confirmed = await payouts.sign(creator, asked)
    assert confirmed.stage == events_pb2.PAYOUT_STAGE_QUEUED
    assert await payouts.to_end(asked.payout_id) == "COMPLETED"
    assert await payouts.stages(asked.payout_id) == [
        "REQUESTED", "AWAITING_CONFIRMATION", "QUEUED", "SUBMITTING", "PROCESSING", "COMPLETED",
    ]  # fmt: skip
    done = await payouts.payout(creator, asked.payout_id)
    assert done.fee_final
    assert done.transaction_hash
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    assert int(payouts.running.sent * DOLLAR) == done.net_micro
    await payouts.books.check()


async def test_the_same_request_is_one_payout_and_one_answer(payouts: Payouts) -> None:
    creator = await payouts.creator()
    request = payouts.asking(creator)
    first = await payouts.owners.RequestPayout(request)
    together = await asyncio.gather(*(payouts.owners.RequestPayout(request) for _ in range(8)))
    assert {each.SerializeToString(deterministic=True) for each in together} == {
        first.SerializeToString(deterministic=True)
    }
    assert await payouts.held(creator) == 40 * DOLLAR
    changed = payout_pb2.RequestPayoutRequest()
    changed.CopyFrom(request)
    changed.amount_micro += 1
    assert await said(payouts.owners.RequestPayout(changed)) == "REQUEST_ID_REUSED"


async def test_the_same_request_at_the_same_time_is_one_payout(payouts: Payouts) -> None:
    creator = await payouts.creator()
    request = payouts.asking(creator)
    together = await asyncio.gather(*(payouts.owners.RequestPayout(request) for _ in range(16)))
    assert len({each.payout.payout_id for each in together}) == 1
    assert await payouts.value("SELECT count(*) FROM payouts") == 1


async def test_only_one_payout_a_day_and_what_was_cancelled_does_not_count(payouts: Payouts) -> None:
    creator = await payouts.creator()
    first = await payouts.request(creator)
    assert await said(payouts.request(creator)) == "PAYOUT_TOO_SOON"
    await payouts.cancel(creator, first.payout_id)
    assert await payouts.held(creator) == 0
    second = await payouts.request(creator)
    await payouts.sign(creator, second)
    assert await said(payouts.request(creator)) == "PAYOUT_TOO_SOON"
    request = admin_pb2.AllowEarlyRequestRequest(request_id=key(), account_id=creator, **OLGA)
    assert (await payouts.admin.AllowEarlyRequest(request)).expires_at.seconds
    await payouts.request(creator)
    assert await said(payouts.request(creator)) == "PAYOUT_TOO_SOON"
    payouts.clock.advance(DAY)
    await payouts.pricing.refresh(payouts.clock.now())
    await payouts.request(creator)


async def test_what_the_ledger_refuses_is_told_and_does_not_count(payouts: Payouts) -> None:
    creator = await payouts.creator(30 * DOLLAR)
    request = payouts.asking(creator, 31 * DOLLAR)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await payouts.owners.RequestPayout(request)
    refused = rpc.refusal_of(caught.value)
    assert (refused.reason, refused.data["withdrawable_micro"]) == ("INSUFFICIENT_WITHDRAWABLE", str(30 * DOLLAR))
    assert await said(payouts.owners.RequestPayout(request)) == "INSUFFICIENT_WITHDRAWABLE"
    (row,) = await payouts.rows("SELECT payout_id, stage, money FROM payouts")
    assert (row["stage"], row["money"]) == (11, 4)
    assert await said(payouts.retry(creator, str(row["payout_id"]))) == "PAYOUT_NOT_RETRYABLE"
    assert (await payouts.request(creator, 30 * DOLLAR)).payout_id


async def test_a_suspended_account_is_paid_nothing(payouts: Payouts) -> None:
    creator = await payouts.creator()
    await suspend(payouts, creator)
    assert await said(payouts.request(creator)) == "ACCOUNT_SUSPENDED"
    assert await payouts.value("SELECT count(*) FROM payouts") == 0


async def test_a_suspension_nobody_told_of_yet_stops_a_payout_whose_turn_has_come(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await suspend(payouts, creator)
    assert await payouts.to_end(queued.payout_id) == "CANCELLED"
    assert (await payouts.payout(creator, queued.payout_id)).reason == "SUSPENDED"
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    assert payouts.running.rows == []


async def test_who_is_known_asks_without_referral_and_is_refused_by_what_it_told(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    await payouts.cancel(creator, queued.payout_id)
    await payouts.referral.server.drain(hasty=True)
    again = await payouts.request(creator)
    assert again.payout_id
    async with payouts.postgres.transaction() as connection:
        ref, told = uuid.UUID(await payouts.ref(creator)), STANDING_SUSPENDED
        assert await standing.apply(connection, payouts.clock, ref, told, 1, payouts.clock.now()) == 1
    assert await said(payouts.request(creator)) == "ACCOUNT_SUSPENDED"


async def suspend(payouts: Payouts, creator: str) -> None:
    await payouts.referral.commands.execute(
        """
        INSERT INTO standings (account_ref, standing, reason, revision, changed_at)
        VALUES ($1, 'suspended', 'FLAGGED_SHARE', 1, $2)
        """,
        uuid.UUID(await payouts.ref(creator)),
        payouts.clock.now(),
    )


async def test_sixty_four_requests_over_one_balance_hold_what_there_is(database: Database) -> None:
    async with payouts_running(database, PAYOUT_WINDOW_SECONDS="0", PAYOUTS_APPROVE_ALL="1") as payouts:
        creator = await payouts.creator(400 * DOLLAR)
        came_of = Counter(
            await asyncio.gather(*(said(payouts.request(creator, 10 * DOLLAR + number)) for number in range(64)))
        )
        assert came_of == {"OK": 39, "INSUFFICIENT_WITHDRAWABLE": 25}
        # Where the machine is busy a hold may be answered too late to be recorded: the sweeper does it.
        payouts.clock.advance(timedelta(seconds=10))
        await payouts.advancing.run()
        held = await payouts.value("SELECT sum(amount_micro)::bigint FROM payouts WHERE money = 2")
        assert held == await payouts.held(creator) <= 400 * DOLLAR
        await payouts.books.check()


async def test_sixty_four_payouts_over_a_reserve_for_half_burn_only_what_is_covered(database: Database) -> None:
    async with payouts_running(database) as payouts:
        creators = [f"creator-{number}" for number in range(64)]
        for each in creators:
            await payouts.books.earn(await payouts.ref(each), 20 * DOLLAR)
        await payouts.creator(0, "nobody")
        payouts.clock.advance(timedelta(days=14))
        await payouts.books.settle()
        await payouts.pricing.refresh(payouts.clock.now())
        payouts.wallets |= {each: wallet(number) for number, each in enumerate(creators)}
        asked = [await payouts.queued(each, 20 * DOLLAR) for each in creators]
        # Half of what backs them is gone, by a hand in the books that no command would let in.
        await payouts.books.execute(
            "UPDATE accounts SET balance_micro = balance_micro - $1 WHERE name = 'treasury:payout_reserve'",
            32 * 20 * DOLLAR,
        )
        await asyncio.gather(*(payouts.advancing.run() for _ in range(4)))
        burned = await payouts.books.value("SELECT count(*) FROM payout_holds WHERE state = 3")
        stages = Counter([await payouts.stage(each.payout_id) for each in asked])
        assert stages["SUBMITTING"] == burned <= 32
        assert stages["QUEUED"] == 64 - burned
        assert await payouts.books.balance("treasury:payout_reserve") >= 0
        # Put right, all of them go on.
        await payouts.books.execute(
            "UPDATE accounts SET balance_micro = balance_micro + $1 WHERE name = 'treasury:payout_reserve'",
            32 * 20 * DOLLAR,
        )
        payouts.clock.advance(timedelta(minutes=1))
        await payouts.advancing.run()
        assert await payouts.books.value("SELECT count(*) FROM payout_holds WHERE state = 3") == 64
        await payouts.books.check()


async def test_a_cancelled_payout_comes_back_once_and_can_not_be_sent(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    request = payout_pb2.CancelPayoutRequest(request_id=key(), account_id=creator, payout_id=queued.payout_id)
    answers = await asyncio.gather(*(payouts.owners.CancelPayout(request) for _ in range(4)))
    assert {each.payout.reason for each in answers} == {"CANCELLED"}
    assert await said(payouts.cancel(creator, queued.payout_id)) == "PAYOUT_NOT_CANCELLABLE"
    await payouts.advancing.run()
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    await payouts.books.check()


async def test_a_payout_that_failed_can_be_tried_again_and_is_not_a_new_one(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    payouts.running.fault("create", "refused")
    assert await payouts.to_end(queued.payout_id) == "FAILED"
    failed = await payouts.payout(creator, queued.payout_id)
    assert (failed.reason, failed.retryable) == ("PROVIDER_REJECTED", True)
    assert await payouts.withdrawable(creator) == 1000 * DOLLAR
    assert (await payouts.retry(creator, queued.payout_id)).round == 2
    assert await payouts.to_end(queued.payout_id) == "COMPLETED"
    assert await payouts.withdrawable(creator) == 960 * DOLLAR
    assert len([row for row in payouts.running.rows if row.sent]) == 1


async def test_a_payout_is_nobody_elses(payouts: Payouts) -> None:
    creator, other = await payouts.creator(), await payouts.creator()
    asked = await payouts.request(creator)
    for stranger in (other, "never seen"):
        about = {"account_id": stranger, "payout_id": asked.payout_id}
        assert await said(payouts.owners.GetPayout(payout_pb2.GetPayoutRequest(**about))) == "PAYOUT_UNKNOWN"
        assert await said(payouts.cancel(stranger, asked.payout_id)) == "PAYOUT_UNKNOWN"
        assert (
            await said(payouts.owners.ChallengePayout(payout_pb2.ChallengePayoutRequest(**about))) == "PAYOUT_UNKNOWN"
        )
    listed = await payouts.owners.ListPayouts(payout_pb2.ListPayoutsRequest(account_id=other))
    assert not listed.payouts


async def test_a_signature_by_anybody_else_or_of_another_text_confirms_nothing(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator)
    own = payouts.wallets[creator]
    good = signed(own, asked.confirmation.text)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = bytes.fromhex(good[2:])
    high = raw[:32] + (order - int.from_bytes(raw[32:64])).to_bytes(32) + bytes([27 + 28 - raw[64]])
    for signature, reason in [
        (signed(wallet(99), asked.confirmation.text), "CONFIRMATION_WRONG"),
        (signed(own, asked.confirmation.text + " "), "CONFIRMATION_WRONG"),
        ("0x" + high.hex(), "CONFIRMATION_MALFORMED"),
        ("0x00", "CONFIRMATION_MALFORMED"),
        ("", "CONFIRMATION_MALFORMED"),
        ("z" * 130, "CONFIRMATION_MALFORMED"),
    ]:
        assert await said(payouts.sign(creator, asked, signature=signature)) == reason
    typed = payout_pb2.ConfirmPayoutRequest(
        request_id=key(), account_id=creator, payout_id=asked.payout_id, typed_address=asked.destination_address
    )
    assert await said(payouts.owners.ConfirmPayout(typed)) == "CONFIRMATION_MALFORMED"
    challenge = payout_pb2.ChallengePayoutRequest(account_id=creator, payout_id=asked.payout_id)
    fresh = (await payouts.owners.ChallengePayout(challenge)).confirmation.text
    assert await said(payouts.sign(creator, asked, signature=good)) == "CONFIRMATION_WRONG"
    payouts.clock.advance(timedelta(hours=1))
    assert await said(payouts.sign(creator, asked, signature=signed(own, fresh))) == "CONFIRMATION_EXPIRED"
    assert await payouts.stage(asked.payout_id) == "AWAITING_CONFIRMATION"


async def test_an_address_that_cannot_sign_is_typed_again_and_rests_a_day(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator, currency="usdttrc20", destination_address=TRON)
    assert asked.confirmation.method == payout_pb2.CONFIRMATION_METHOD_TYPED_AGAIN
    wrong = {"request_id": key(), "account_id": creator, "payout_id": asked.payout_id}
    for typed in ("", TRON.lower(), TRON[:-1]):
        request = payout_pb2.ConfirmPayoutRequest(**wrong, typed_address=typed)
        assert (await said(payouts.owners.ConfirmPayout(request))).startswith("CONFIRMATION_")
    right = payout_pb2.ConfirmPayoutRequest(**wrong, typed_address=TRON)
    assert (await payouts.owners.ConfirmPayout(right)).payout.stage == events_pb2.PAYOUT_STAGE_QUEUED
    await payouts.advancing.run()
    assert await payouts.stage(asked.payout_id) == "QUEUED"
    payouts.clock.advance(DAY)
    await payouts.pricing.refresh(payouts.clock.now())
    assert await payouts.to_end(asked.payout_id) == "COMPLETED"


async def test_a_new_address_after_another_rests_a_day_though_it_signed(payouts: Payouts) -> None:
    creator = await payouts.creator()
    first = await payouts.queued(creator)
    assert await payouts.to_end(first.payout_id) == "COMPLETED"
    payouts.clock.advance(DAY)
    await payouts.pricing.refresh(payouts.clock.now())
    payouts.wallets[creator] = wallet(77)
    second = await payouts.queued(creator)
    await payouts.advancing.run()
    assert await payouts.stage(second.payout_id) == "QUEUED"
    payouts.clock.advance(DAY)
    await payouts.pricing.refresh(payouts.clock.now())
    assert await payouts.to_end(second.payout_id) == "COMPLETED"


async def test_an_address_that_others_use_is_told_by_surrogates_only(payouts: Payouts) -> None:
    first, second = await payouts.creator(), await payouts.creator()
    payouts.wallets[second] = payouts.wallets[first]
    await payouts.request(first)
    await payouts.request(second)
    rows = await payouts.rows("SELECT payload FROM outbox WHERE topic = 'payout.destinations.v1' ORDER BY id")
    told = [events_pb2.DestinationChanged.FromString(row["payload"]) for row in rows]
    assert told[0].address_ref == told[1].address_ref
    assert list(told[1].shared_with_refs) == [await payouts.ref(first)]
    address = payouts.wallets[first].address.lower().encode()
    assert not any(address in row["payload"].lower() for row in rows)


async def test_nothing_is_sent_to_a_blocked_address(database: Database, tmp_path: object) -> None:
    listed = f"{tmp_path}/blocked"
    with open(listed, "w", encoding="utf-8") as file:  # noqa: ASYNC230, PTH123 - a line of a test
        file.write(f"# sanctioned\n{wallet(5).address.lower()}  # somebody\n")
    async with payouts_running(database, SCREENING_FILE=listed) as payouts:
        creator = await payouts.creator()
        request = payouts.asking(creator, destination_address=wallet(5).address)
        assert await said(payouts.owners.RequestPayout(request)) == "DESTINATION_BLOCKED"
        assert await payouts.value("SELECT state FROM destinations") == 4
        queued = await payouts.queued(creator)
        with open(listed, "a", encoding="utf-8") as file:  # noqa: ASYNC230, PTH123
            file.write(payouts.wallets[creator].address)
        assert await payouts.to_end(queued.payout_id) == "CANCELLED"
        assert await payouts.withdrawable(creator) == 1000 * DOLLAR


async def test_quotes_say_gross_fee_and_net_and_stand_for_a_while(payouts: Payouts) -> None:
    other, creator = await payouts.creator(), await payouts.creator()
    request = payout_pb2.QuotePayoutRequest(
        account_id=creator, amount_micro=60 * DOLLAR, currency="usdttrc20", destination_address=TRON
    )
    answer = await payouts.owners.QuotePayout(request)
    quote = answer.quote
    assert quote.amount_micro == quote.fee_micro + quote.net_micro == 60 * DOLLAR
    assert quote.fee_micro > 0
    assert answer.needs_approval
    assert answer.needs_confirmation
    chosen = {"currency": "usdttrc20", "destination_address": TRON, "quote_id": quote.quote_id}
    assert await said(payouts.request(creator, 61 * DOLLAR, **chosen)) == "QUOTE_MISMATCH"
    assert await said(payouts.request(other, 60 * DOLLAR, **chosen)) == "QUOTE_UNKNOWN"
    asked = await payouts.request(creator, 60 * DOLLAR, **chosen)
    assert asked.fee_micro == quote.fee_micro
    await payouts.cancel(creator, asked.payout_id)
    payouts.clock.advance(timedelta(hours=1))
    assert await said(payouts.request(creator, 60 * DOLLAR, **chosen)) == "QUOTE_EXPIRED"


async def test_a_request_never_asks_the_provider(payouts: Payouts) -> None:
    creator = await payouts.creator()
    before = dict(payouts.running.provider.faults.calls)
    await payouts.request(creator)
    assert dict(payouts.running.provider.faults.calls) == before


async def test_without_a_price_of_late_nothing_is_offered(payouts: Payouts) -> None:
    creator = await payouts.creator()
    payouts.clock.advance(timedelta(hours=2))
    assert await said(payouts.request(creator)) == "PRICE_UNKNOWN"


async def test_currencies_are_listed_with_their_least_amount(payouts: Payouts) -> None:
    await payouts.creator()
    listed = (await payouts.owners.ListCurrencies(payout_pb2.ListCurrenciesRequest())).currencies
    assert [(each.currency, each.evm, each.available) for each in listed] == [
        ("usdcmatic", True, True), ("usdttrc20", False, True),
    ]  # fmt: skip
    assert all(each.minimum_micro >= 10 * DOLLAR for each in listed)


async def test_a_destination_is_removed_when_no_open_payout_goes_there(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator)
    about = payout_pb2.ListDestinationsRequest(account_id=creator)
    (destination,) = (await payouts.owners.ListDestinations(about)).destinations
    remove = payout_pb2.RemoveDestinationRequest(
        request_id=key(), account_id=creator, destination_id=destination.destination_id
    )
    assert await said(payouts.owners.RemoveDestination(remove)) == "DESTINATION_IN_USE"
    await payouts.cancel(creator, asked.payout_id)
    assert (await payouts.owners.RemoveDestination(remove)).destination.state == events_pb2.DESTINATION_STATE_REMOVED
    assert not (await payouts.owners.ListDestinations(about)).destinations
    again = await payouts.request(creator)
    assert again.stage == events_pb2.PAYOUT_STAGE_AWAITING_CONFIRMATION


async def test_payouts_are_paged_newest_first_and_told_to_be_open(payouts: Payouts) -> None:
    creator = await payouts.creator()
    made = []
    for _ in range(3):
        made.append((await payouts.request(creator)).payout_id)
        await payouts.cancel(creator, made[-1])
    ref = await payouts.ref(creator)
    asked = payout_pb2.HasOpenPayoutsRequest(account_ref=ref)
    assert not (await payouts.owners.HasOpenPayouts(asked)).open
    made.append((await payouts.request(creator)).payout_id)
    assert (await payouts.owners.HasOpenPayouts(asked)).open
    seen: list[str] = []
    token = ""
    while True:
        page = await payouts.owners.ListPayouts(
            payout_pb2.ListPayoutsRequest(account_id=creator, page_size=2, page_token=token)
        )
        seen += [each.payout_id for each in page.payouts]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    pending = payout_pb2.ListPayoutsRequest(account_id=creator, state=events_pb2.PAYOUT_STATE_PENDING)
    assert [each.payout_id for each in (await payouts.owners.ListPayouts(pending)).payouts] == made[-1:]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"amount_micro": 0}, "PAYOUT_AMOUNT_INVALID"),
        ({"amount_micro": -1}, "PAYOUT_AMOUNT_INVALID"),
        ({"amount_micro": 10 * DOLLAR - 1}, "BELOW_MINIMUM"),
        ({"amount_micro": 2**63 - 1}, "PAYOUT_AMOUNT_INVALID"),
        ({"currency": "usdtnowhere"}, "CURRENCY_UNKNOWN"),
        ({"currency": ""}, "CURRENCY_UNKNOWN"),
        ({"destination_address": ""}, "ADDRESS_INVALID"),
        ({"destination_address": "0x" + "0" * 40}, "ADDRESS_UNSPENDABLE"),
        ({"destination_address": "0x" + "é" * 40}, "ADDRESS_INVALID"),
        ({"destination_address": TRON}, "ADDRESS_INVALID"),
        ({"memo": "1"}, "MEMO_INVALID"),
        ({"quote_id": "x"}, "PAYOUT_NAME_INVALID"),
        ({"quote_id": str(uuid.uuid4())}, "QUOTE_UNKNOWN"),
        ({"request_id": ""}, "REQUEST_ID_INVALID"),
        ({"request_id": "x" * 129}, "REQUEST_ID_INVALID"),
        ({"account_id": "\n"}, "PAYOUT_ACCOUNT_INVALID"),
    ],
)
async def test_hostile_requests_are_refused_and_nothing_is_written(
    payouts: Payouts, changed: dict[str, object], reason: str
) -> None:
    creator = await payouts.creator()
    request = payouts.asking(creator)
    for name, value in changed.items():
        setattr(request, name, value)
    assert await said(payouts.owners.RequestPayout(request)) == reason
    assert await payouts.value("SELECT count(*) FROM payouts") == 0
    assert await payouts.held(creator) == 0
