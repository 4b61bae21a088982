"""Wallets and payout destinations, as score and payout tell of them: who shares one, and what that puts in question."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from libs.postgres import Connection
from services.referral.commands import cases
from services.referral.model import Kind
from services.referral.model.review import Finding, Subject
from services.referral.model.risk import AccountAddress
from services.referral.rules import risk as rules
from services.referral.store import addresses, exemptions, registrations

SHARED = "SHARED_ADDRESS"
RELATED_SCORE = 10_000
STRANGERS_SCORE = 3_000
_OTHERS_MAX = 50


async def take_addresses(connection: Connection, told: Iterable[AccountAddress], now: datetime) -> None:
    """Keeps what accounts have, and opens a case for each pair that is new to share one."""
    for address in told:
        await addresses.take_turn(connection, address.address_ref)
        await addresses.save(connection, address)
        if not address.active:
            continue
        known = await addresses.others(connection, address, limit=_OTHERS_MAX)
        others = dict.fromkeys((*known, *address.shared_with))
        others.pop(address.account_ref, None)
        for other in list(others)[:_OTHERS_MAX]:
            await _take_pair(connection, address, other, now)


async def _take_pair(connection: Connection, address: AccountAddress, other: UUID, now: datetime) -> None:
    one = address.account_ref
    if not await addresses.insert_pair(connection, one, other, address.kind, address.address_ref, now):
        return
    if await exemptions.any_of(connection, [one, other], now):
        return
    finding = await _finding(connection, one, other)
    if finding.referee_ref is not None:
        await cases.hold_back(connection, finding.referee_ref, SHARED, now)
    await cases.open_case(connection, finding, now)


async def _finding(connection: Connection, one: UUID, other: UUID) -> Finding:
    """What is in question: a referral between the two, or by one and the same referrer; else the one account itself."""
    found = [await registrations.find(connection, each) for each in (one, other)]
    mine, theirs = (each if each is not None and each.kind is Kind.REFERRED else None for each in found)
    questioned = rules.questioned(one, mine, other, theirs)
    if questioned is None or questioned.referrer_ref is None:
        return Finding(Subject.SHARED_ADDRESS, one, None, STRANGERS_SCORE, urgent=False, related_refs=(other,))
    related = other if questioned is mine else one
    return Finding(
        Subject.SHARED_ADDRESS,
        questioned.referrer_ref,
        questioned.referee_ref,
        RELATED_SCORE,
        urgent=True,
        related_refs=(related,),
    )
