"""Events of wallets and destinations, as score and payout publish them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from libs.inbox import Received
from libs.timestamps import to_timestamp
from protos.payout.v1 import events_pb2 as payout
from protos.referral.v1 import admin_pb2 as pb
from protos.score.v1 import events_pb2 as score
from services.referral.consumers import address_subscriptions
from tests.conftest import Database
from tests.support.referral import START, opened
from tests.support.risk import Desk, desk_at


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with opened(await database("referral")) as referral, desk_at(referral) as desk:
        yield desk


async def hear(desk: Desk, message: Any) -> None:
    """Applies one event as the consumer does."""
    nobody: Any = None
    [heard] = [each for each in address_subscriptions(desk.clock, nobody, nobody) if each.message_type is type(message)]
    event = Received(1, UUID(int=1), START, message.account_ref, message)
    async with desk.referral.postgres.transaction() as connection:
        await heard.handler(connection, [event])


async def wallet(desk: Desk, account_id: str, state: score.WalletState.ValueType) -> score.WalletChanged:
    return score.WalletChanged(
        account_ref=str(await desk.ref(account_id)),
        wallet_ref=str(UUID(int=7)),
        state=state,
        chain_id=1,
        revision=1,
        changed_at=to_timestamp(START),
    )


async def test_a_wallet_that_was_unlinked_and_linked_by_the_referee_is_a_case(desk: Desk) -> None:
    await desk.sign_up("a")
    await hear(desk, await wallet(desk, "creator", score.WALLET_STATE_LINKED))
    await hear(desk, await wallet(desk, "creator", score.WALLET_STATE_UNLINKED))
    assert await desk.cases() == []
    await hear(desk, await wallet(desk, "a", score.WALLET_STATE_LINKED))
    assert (await desk.case_of("a")).subject == pb.REVIEW_SUBJECT_SHARED_ADDRESS


@pytest.mark.parametrize(
    ("state", "cases"),
    [
        (payout.DESTINATION_STATE_NEW, 1),
        (payout.DESTINATION_STATE_CONFIRMED, 1),
        (payout.DESTINATION_STATE_BLOCKED, 1),
        (payout.DESTINATION_STATE_REMOVED, 0),
    ],
)
async def test_a_destination_that_payout_knows_to_be_shared_is_a_case(
    desk: Desk, state: payout.DestinationState.ValueType, cases: int
) -> None:
    await desk.sign_up("a")
    told = payout.DestinationChanged(
        destination_id=str(UUID(int=1)),
        account_ref=str(await desk.ref("a")),
        address_ref=str(UUID(int=7)),
        state=state,
        currency="usdttrc20",
        shared_with_refs=[str(await desk.ref("creator"))],
        changed_at=to_timestamp(START),
    )
    for _ in range(2):
        await hear(desk, told)
    assert len(await desk.cases()) == cases
