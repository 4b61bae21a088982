"""What a group of charges writes besides its rows: the accounts it moves and the events it tells."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from libs import outbox
from libs.timestamps import to_timestamp
from protos.distribution.v1 import distribution_pb2, events_pb2
from services.distribution import model
from services.distribution.model import AccountKind, Part, Posted, Row, Terms
from services.distribution.rules import shares
from services.distribution.writer.ticket import Ticket

_TOPIC = outbox.topic_of(events_pb2.ChargesFinalized)


@lru_cache(maxsize=100_000)
def _partition(ref: str) -> int:
    return outbox.partition_of(ref, _TOPIC.partitions)


def rows(tickets: Iterable[Ticket], terms: Terms) -> list[Row]:
    """Decide each charge by the terms of its time; in order of charge id, as they are to be locked."""
    made = [_row(ticket, terms) for ticket in tickets]
    made.sort(key=_charge_id)
    return made


def _row(ticket: Ticket, terms: Terms) -> Row:
    charge = ticket.charge
    decision = shares.decide_by(terms, charge, ticket.attribution)
    posted = Posted(charge.inference_charge_id, ticket.distribution_id, ticket.fingerprint, decision)
    return Row(posted, charge, ticket.attribution)


def _charge_id(row: Row) -> str:
    return row.posted.inference_charge_id


class Amounts:
    """Sums of a group by account name, in micro-USD, and the kind of each account."""

    __slots__ = ("kinds", "micro")

    def __init__(self, group: Iterable[Row]) -> None:
        paid_micro = referrers_micro = commons_micro = foundation_micro = 0
        creators: defaultdict[str, int] = defaultdict(int)
        communities: defaultdict[str, int] = defaultdict(int)
        for posted, charge, attribution in group:
            split = posted.decision.split
            paid_micro += charge.revenue_micro - charge.promotional_micro
            commons_micro += split.commons_micro
            foundation_micro += split.foundation_micro
            communities[charge.community_id] += split.community_micro
            if split.referrer_micro and attribution.referrer_ref:
                referrers_micro += split.referrer_micro
                creators[attribution.referrer_ref] += split.referrer_micro
        self.micro: dict[str, int] = {}
        self.kinds: dict[str, AccountKind] = {}
        self._add(model.RECEIPTS, AccountKind.RECEIPTS, -paid_micro)
        self._add(model.COMMONS, AccountKind.COMMONS, commons_micro)
        self._add(model.FOUNDATION, AccountKind.FOUNDATION, foundation_micro)
        # The reserve backs what creators earn, in the same transaction.
        self._add(model.OPERATING, AccountKind.OPERATING, -referrers_micro)
        self._add(model.PAYOUT_RESERVE, AccountKind.PAYOUT_RESERVE, referrers_micro)
        for community_id, amount_micro in communities.items():
            self._add(model.community_account(community_id), AccountKind.COMMUNITY, amount_micro)
        for referrer_ref, amount_micro in creators.items():
            self._add(model.creator_account(referrer_ref, "pending"), AccountKind.CREATOR_PENDING, amount_micro)

    def _add(self, name: str, kind: AccountKind, amount_micro: int) -> None:
        if amount_micro:
            self.micro[name] = amount_micro
            self.kinds[name] = kind


def events(group: Iterable[Row]) -> list[outbox.Entry]:
    """One event per partition; a charge belongs to the partition of its referrer, else of its payer."""
    made: dict[int, events_pb2.ChargesFinalized] = {}
    for row in group:
        partition = _partition(row.attribution.referrer_ref or row.attribution.payer_ref)
        event = made.get(partition)
        if event is None:
            event = made[partition] = events_pb2.ChargesFinalized()
        _tell(event, row)
    return [outbox.Entry(event, str(partition), partition) for partition, event in made.items()]


def _tell(event: events_pb2.ChargesFinalized, row: Row) -> None:
    (charge_id, distribution_id, _, decision), charge, attribution = row
    split = decision.split
    event.charges.add(
        distribution_id=distribution_id,
        inference_charge_id=charge_id,
        payer_ref=attribution.payer_ref,
        referrer_ref=attribution.referrer_ref,
        community_id=charge.community_id,
        revenue_micro=charge.revenue_micro,
        promotional_micro=charge.promotional_micro,
        provider_cost_micro=charge.provider_cost_micro,
        referrer_micro=split.referrer_micro,
        commons_micro=split.commons_micro,
        community_micro=split.community_micro,
        foundation_micro=split.foundation_micro,
        referrer_outcome=decision.referrer_outcome,
        rule_version=decision.rule_version,
        model=charge.model,
        model_tier=charge.model_tier,
        model_breakdown=_shares(charge.model_breakdown),
        finalized_at=to_timestamp(charge.finalized_at),
    )


def _shares(parts: Sequence[Part]) -> list[distribution_pb2.ModelShare] | None:
    if not parts:
        return None
    return [distribution_pb2.ModelShare(model=part.name, amount_micro=part.amount_micro) for part in parts]
