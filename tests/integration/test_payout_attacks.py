"""A creator who wants to be paid twice, and operators who sign twice or paste the wrong line: what comes of it."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pytest

from protos.payout.v1 import admin_pb2, events_pb2, payout_pb2
from tests.support.databases import Databases
from tests.support.payout import DOLLAR, MINUTE, OLGA, OTTO, Payouts, key, payouts_shared, said

DAY = timedelta(days=1)
EARNED = 1_000 * DOLLAR
REFUSED_LATE = {"OK", "NOT_AWAITING_CONFIRMATION", "NOT_AWAITING_APPROVAL", "PAYOUT_NOT_CANCELLABLE"}


@pytest.fixture(scope="module")
async def payouts(databases: Databases) -> AsyncIterator[Payouts]:
    """One replica for all: each test has creators of its own."""
    async with payouts_shared(databases) as running:
        yield running


async def check_books(payouts: Payouts) -> None:
    """Whatever was tried, the books add up, and what left, here or by hand, is what was debited."""
    await payouts.books.check()
    by_hand_micro = await payouts.value("SELECT coalesce(sum(sent_micro), 0)::bigint FROM proposals WHERE state = 3")
    left = int(payouts.running.sent * DOLLAR) + by_hand_micro
    assert left == await payouts.books.balance("provider:sent") + await payouts.books.balance("provider:in_flight")


async def tomorrow(payouts: Payouts) -> None:
    payouts.clock.advance(DAY)
    await payouts.pricing.refresh(payouts.clock.now())


def sent_rows(payouts: Payouts, payout_id: str) -> list[Any]:
    """What the provider truly sent of a payout, by whichever attempt."""
    named = payout_id.replace("-", "")
    return [row for row in payouts.running.rows if row.sent and row.unique_external_id.startswith(named)]


async def allow(payouts: Payouts, creator: str) -> None:
    request = admin_pb2.AllowEarlyRequestRequest(request_id=key(), account_id=creator, **OLGA)
    await payouts.admin.AllowEarlyRequest(request)


def changes(asked: payout_pb2.RequestPayoutRequest, other: str) -> Iterator[payout_pb2.RequestPayoutRequest]:
    """The same key, and something else."""
    for changed in ({"amount_micro": 41 * DOLLAR}, {"currency": "usdttrc20"}, {"account_id": other}, {"memo": "1"}):
        request = payout_pb2.RequestPayoutRequest()
        request.CopyFrom(asked)
        request.MergeFrom(payout_pb2.RequestPayoutRequest(**changed))
        yield request


async def test_a_key_stands_for_one_payout_for_ever_also_after_it_was_cancelled(payouts: Payouts) -> None:
    creator, other = await payouts.creator(), await payouts.creator()
    asked = payouts.asking(creator)
    first = (await payouts.owners.RequestPayout(asked)).payout
    await payouts.cancel(creator, first.payout_id)
    again = await asyncio.gather(*(payouts.owners.RequestPayout(asked) for _ in range(4)))
    assert {each.payout.payout_id for each in again} == {first.payout_id}
    for request in changes(asked, other):
        assert await said(payouts.owners.RequestPayout(request)) != "OK"
    rows = await payouts.rows("SELECT stage FROM payouts WHERE request_id = $1", asked.request_id)
    assert [row["stage"] for row in rows] == [12]
    assert (await payouts.held(creator), await payouts.withdrawable(creator)) == (0, EARNED)
    assert await payouts.held(other) == 0


async def test_one_offer_taken_by_many_at_once_is_one_payout(payouts: Payouts) -> None:
    creator = await payouts.creator()
    quoting = payout_pb2.QuotePayoutRequest(account_id=creator, amount_micro=30 * DOLLAR, currency="usdcmatic")
    quote = (await payouts.owners.QuotePayout(quoting)).quote
    taking = {"amount_micro": 30 * DOLLAR, "quote_id": quote.quote_id}
    came = await asyncio.gather(*(said(payouts.request(creator, **taking)) for _ in range(8)))
    assert sorted(came) == ["OK"] + ["PAYOUT_TOO_SOON"] * 7
    assert await payouts.held(creator) == 30 * DOLLAR
    payouts.clock.advance(quote.expires_at.ToDatetime(tzinfo=UTC) - payouts.clock.now())
    await allow(payouts, creator)
    assert await said(payouts.request(creator, **taking)) == "QUOTE_EXPIRED"
    assert await payouts.held(creator) == 30 * DOLLAR


@pytest.mark.parametrize(("first", "already_confirmed"), [(0, False), (2, True), (3, True), (1, False)])
async def test_whoever_wins_between_owner_and_operators_its_money_is_in_one_place(
    payouts: Payouts, first: int, *, already_confirmed: bool
) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator, 200 * DOLLAR)
    if already_confirmed:
        # The operators are among themselves, with an owner who thinks better of it.
        await payouts.sign(creator, asked)
    about = {"payout_id": asked.payout_id}
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: payouts.sign(creator, asked),
        lambda: payouts.cancel(creator, asked.payout_id),
        lambda: payouts.approve(asked.payout_id),
        lambda: payouts.admin.DeclinePayout(admin_pb2.DeclinePayoutRequest(request_id=key(), **about, **OTTO)),
        lambda: payouts.admin.StopPayout(admin_pb2.StopPayoutRequest(request_id=key(), **about, **OTTO)),
    ]
    came = await asyncio.gather(*(said(act()) for act in acts[first:] + acts[:first]))
    assert set(came) <= REFUSED_LATE
    ended = await payouts.stage(asked.payout_id)
    if ended not in {"CANCELLED", "DECLINED"}:
        ended = await payouts.to_end(asked.payout_id)
    await payouts.advancing.run()
    sent = sent_rows(payouts, asked.payout_id)
    assert (len(sent), await payouts.withdrawable(creator)) == (
        (1, EARNED - 200 * DOLLAR) if ended == "COMPLETED" else (0, EARNED)
    )
    assert await said(payouts.approve(asked.payout_id)) == "NOT_AWAITING_APPROVAL"
    assert await said(payouts.cancel(creator, asked.payout_id)) == "PAYOUT_NOT_CANCELLABLE"
    await check_books(payouts)


async def test_no_spelling_of_a_name_makes_one_operator_two(payouts: Payouts) -> None:
    creator = await payouts.creator(2 * EARNED, "Selma")
    asked = await payouts.request(creator, EARNED)
    await payouts.sign(creator, asked)
    for own in ("Selma", "selma", "SELMA "):
        assert await said(payouts.approve(asked.payout_id, OLGA | {"operator_id": own})) == "APPROVER_IS_OWNER"
    await payouts.approve(asked.payout_id)
    for name in ("Olga", "OLGA", " olga", "olga "):
        assert await said(payouts.approve(asked.payout_id, OLGA | {"operator_id": name})) == "ALREADY_APPROVED"
    with pytest.raises(asyncpg.UniqueViolationError):
        await payouts.rows(
            """
            INSERT INTO approvals (payout_id, round, operator_id, reason, approved_at) VALUES ($1, 1, 'OLGA', 'x', $2)
            """,
            uuid.UUID(asked.payout_id),
            payouts.clock.now(),
        )
    assert await payouts.stage(asked.payout_id) == "AWAITING_APPROVAL"
    await payouts.approve(asked.payout_id, OTTO)
    proposal = (await payouts.admin.ProposeManualPayout(proposing(asked.payout_id))).proposal
    assert await said(payouts.admin.DecideProposal(deciding(proposal.proposal_id, "Olga"))) == "DECIDER_IS_PROPOSER"
    await payouts.admin.DecideProposal(deciding(proposal.proposal_id, "otto", approve=False))
    assert await payouts.to_end(asked.payout_id) == "COMPLETED"


def proposing(payout_id: str) -> admin_pb2.ProposeManualPayoutRequest:
    return admin_pb2.ProposeManualPayoutRequest(request_id=key(), payout_id=payout_id, **OLGA)


def deciding(proposal_id: str, name: str, *, approve: bool = True) -> admin_pb2.DecideProposalRequest:
    return admin_pb2.DecideProposalRequest(
        request_id=key(), proposal_id=proposal_id, approve=approve, operator_id=name, reason="looked at"
    )


async def by_hand(payouts: Payouts, creator: str) -> str:
    """A payout that operators are to send themselves; its proposal."""
    queued = await payouts.queued(creator)
    proposal = (await payouts.admin.ProposeManualPayout(proposing(queued.payout_id))).proposal
    await payouts.admin.DecideProposal(deciding(proposal.proposal_id, "otto"))
    await payouts.advancing.run()
    assert await payouts.stage(queued.payout_id) == "PROCESSING"
    return str(proposal.proposal_id)


def recording(proposal_id: str, proof: str) -> admin_pb2.RecordManualPayoutRequest:
    return admin_pb2.RecordManualPayoutRequest(
        request_id=key(), proposal_id=proposal_id, proof=proof, sent_micro=39 * DOLLAR, fee_micro=DOLLAR, **OLGA
    )


async def test_one_payment_proves_one_payout_however_its_hash_is_pasted(payouts: Payouts) -> None:
    paid = await payouts.creator()
    queued = await payouts.queued(paid)
    assert await payouts.to_end(queued.payout_id) == "COMPLETED"
    theirs = (await payouts.payout(paid, queued.payout_id)).transaction_hash
    first, second = [await by_hand(payouts, await payouts.creator()) for _ in range(2)]
    own = "0x" + "AB" * 32
    for proof in (theirs, theirs.upper(), f" {theirs} "):
        assert await said(payouts.admin.RecordManualPayout(recording(first, proof))) == "PROOF_INVALID"
    both = (first, own), (second, own.lower())
    came = await asyncio.gather(*(said(payouts.admin.RecordManualPayout(recording(*each))) for each in both))
    assert sorted(came) == ["OK", "PROOF_INVALID"]
    late = second if came[0] == "OK" else first
    await payouts.admin.RecordManualPayout(recording(late, "0x" + "cd" * 32))


async def test_an_address_that_rests_is_not_woken_by_another_payout_that_signs(payouts: Payouts) -> None:
    creator = await payouts.creator()
    assert await payouts.to_end((await payouts.queued(creator)).payout_id) == "COMPLETED"
    await tomorrow(payouts)
    # Whoever took the account over asks for two payouts to a wallet of their own before they sign for either.
    payouts.wallets[creator] = payouts.wallets[await payouts.creator(0)]
    first = await payouts.request(creator)
    await allow(payouts, creator)
    second = await payouts.request(creator)
    assert (await payouts.sign(creator, first)).stage == events_pb2.PAYOUT_STAGE_QUEUED
    await payouts.sign(creator, second)
    for _ in range(3):
        await payouts.advancing.run()
        payouts.clock.advance(MINUTE)
    stages = [await payouts.stage(each.payout_id) for each in (first, second)]
    assert set(stages) <= {"QUEUED", "AWAITING_APPROVAL"}
    for each in (first, second):
        if await payouts.stage(each.payout_id) == "AWAITING_APPROVAL":
            await payouts.approve(each.payout_id)
        await payouts.advancing.run()
        assert await payouts.stage(each.payout_id) == "QUEUED"
        await payouts.cancel(creator, each.payout_id)


async def test_retries_do_not_add_up_to_what_an_operator_should_have_seen(payouts: Payouts) -> None:
    creator = await payouts.creator()
    failed = []
    for _ in range(3):
        queued = await payouts.queued(creator, 45 * DOLLAR)
        payouts.running.fault("create", "refused")
        assert await payouts.to_end(queued.payout_id) == "FAILED"
        failed.append(queued.payout_id)
        await tomorrow(payouts)
    came = await asyncio.gather(*(said(payouts.retry(creator, each)) for each in failed))
    assert sorted(came) == ["OK", "OK", "PAYOUT_NOT_RETRYABLE"]
    for each in itertools.compress(failed, [answer == "OK" for answer in came]):
        assert await payouts.to_end(each) == "COMPLETED"
    assert await payouts.withdrawable(creator) == EARNED - 90 * DOLLAR
    await check_books(payouts)


async def test_what_is_not_failed_is_not_tried_again_and_what_was_sent_stays_sent(payouts: Payouts) -> None:
    creator = await payouts.creator()
    queued = await payouts.queued(creator)
    payouts.running.fault("create", "drop_after")
    payouts.running.fault("list", "drop_before", times=3)
    await payouts.advancing.run()
    await payouts.engine.run()
    assert await payouts.stage(queued.payout_id) == "UNKNOWN"
    assert await said(payouts.retry(creator, queued.payout_id)) == "PAYOUT_NOT_RETRYABLE"
    assert await said(payouts.cancel(creator, queued.payout_id)) == "PAYOUT_NOT_CANCELLABLE"
    assert await said(payouts.admin.ProposeManualPayout(proposing(queued.payout_id))) == "MAY_BE_AT_PROVIDER"
    assert await payouts.to_end(queued.payout_id) == "COMPLETED"
    for word in ("FAILED", "REJECTED"):
        (row,) = sent_rows(payouts, queued.payout_id)
        row.status = word
        for _ in range(3):
            payouts.clock.advance(20 * MINUTE)
            await payouts.engine.run()
        assert await said(payouts.retry(creator, queued.payout_id)) == "PAYOUT_NOT_RETRYABLE"
    assert await payouts.stage(queued.payout_id) == "COMPLETED"
    assert await payouts.withdrawable(creator) == EARNED - 40 * DOLLAR


async def test_where_a_payout_goes_is_not_taken_from_under_it_while_it_waits_for_operators(payouts: Payouts) -> None:
    creator = await payouts.creator()
    asked = await payouts.request(creator, 60 * DOLLAR)
    await payouts.sign(creator, asked)
    about = payout_pb2.ListDestinationsRequest(account_id=creator)
    (before,) = (await payouts.owners.ListDestinations(about)).destinations
    remove = payout_pb2.RemoveDestinationRequest(
        request_id=key(), account_id=creator, destination_id=before.destination_id
    )
    tries = await asyncio.gather(
        said(payouts.owners.RemoveDestination(remove)), payouts.approve(asked.payout_id), return_exceptions=True
    )
    assert tries[0] == "DESTINATION_IN_USE"
    with pytest.raises(asyncpg.CheckViolationError):
        await payouts.rows(
            "UPDATE payouts SET destination_id = gen_random_uuid() WHERE payout_id = $1", uuid.UUID(asked.payout_id)
        )
    assert await payouts.to_end(asked.payout_id) == "COMPLETED"
    (row,) = sent_rows(payouts, asked.payout_id)
    assert row.address == asked.destination_address
