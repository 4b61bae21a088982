"""The money rules once more, in plain Python over plain numbers: what the ledger must say after every step."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

DELAY = timedelta(hours=48)
HOLD = timedelta(days=14)
FLOOR = 3000
INSTANT = timedelta(microseconds=1)
FIRST_RATES = (1000, 500, 7000)


@dataclass
class Share:
    """A creator's part of one charge, while it is pending."""

    creator: str
    micro: int
    accrued_at: datetime


@dataclass
class Funded:
    """A charge, and how much of it which payments paid."""

    creator: str
    community: str
    paid: int
    parts: tuple[int, int, int, int]
    by: dict[str, int]
    at: datetime
    given_back: dict[str, int] = field(default_factory=dict)
    undone: list[int] = field(default_factory=lambda: [0, 0, 0])


@dataclass
class Creator:
    """One creator's buckets."""

    settled: int = 0
    held: int = 0
    paid_out: int = 0
    reversed: int = 0
    maturing: list[tuple[datetime, int]] = field(default_factory=list)
    frozen: bool = False
    revision: int = 0
    doomed: set[str] = field(default_factory=set)
    """Payouts whose money was held when it forfeited."""


class Model:
    """Charges, payments and creators; every number in micro-USD."""

    def __init__(self) -> None:
        self.creators: dict[str, Creator] = {}
        self.charges: dict[str, Funded] = {}
        self.pending: dict[str, Share] = {}
        self.payments: dict[str, tuple[int, int, datetime | None]] = {}
        self.holds: dict[str, tuple[str, int, str]] = {}
        self.books: Counter[str] = Counter()
        # By the first instant they apply to: rates of the referrer, the commons and the communities.
        self.rules: list[tuple[datetime | None, tuple[int, int, int]]] = [(None, FIRST_RATES)]
        # Of the one tier that there is: what was sold when and for how much, and when it was suspended.
        self.sold: list[tuple[datetime, int, int]] = []
        self.suspended: list[tuple[datetime, datetime | None]] = []

    def finalize(
        self, charge: str, creator: str, revenue: int, promotional: int, by: dict[str, int], at: datetime, cost: int = 0
    ) -> None:
        paid = revenue - promotional
        rate, *rates = next(rates for since, rates in reversed(self.rules) if since is None or since <= at)
        stopped = any(since <= at and (until is None or at < until) for since, until in self.suspended)
        thin = (revenue - cost) * 10_000 < FLOOR * revenue
        referrer = paid * rate // 10_000 if creator and not stopped and not thin else 0
        rest = paid - referrer
        commons, community = (rest * each // 10_000 for each in rates)
        self.sold.append((at, revenue, cost))
        parts = (referrer, commons, community, rest - commons - community)
        self.charges[charge] = Funded(creator, "artists", paid, parts, by, at)
        self._post(parts, 1)
        if referrer:
            self.pending[charge] = Share(creator, referrer, at)
        for payment in by:
            self.payments.setdefault(payment, (0, 0, None))

    def change_rates(self, rates: tuple[int, int, int], now: datetime) -> None:
        """From now on, but after everything that was finalized or began by now."""
        began = [since for since, _ in self.rules if since is not None]
        self.rules.append((self._after(now, *began, *(at for at, _, _ in self.sold)), rates))

    def judge(self, due: datetime) -> None:
        """A tier is suspended while an hour of it earns less than the floor."""
        hour = [(revenue, cost) for at, revenue, cost in self.sold if due - timedelta(hours=1) <= at < due]
        revenue, cost = sum(each for each, _ in hour), sum(each for _, each in hour)
        poor = (revenue - cost) * 10_000 < FLOOR * revenue
        last = [at for at, _, _ in self.sold]
        stopped = bool(self.suspended) and self.suspended[-1][1] is None
        if poor and not stopped:
            ends = [until for _, until in self.suspended if until is not None]
            self.suspended.append((self._after(due, *last, *ends), None))
        elif stopped and not poor:
            since = self.suspended[-1][0]
            self.suspended[-1] = (since, self._after(due, *last, since))

    def _after(self, now: datetime, *instants: datetime) -> datetime:
        return max(now, *(instant + INSTANT for instant in instants)) if instants else now

    def _post(self, parts: tuple[int, int, int, int], sign: int) -> None:
        referrer, commons, community, foundation = parts
        self.books["platform:receipts"] -= sign * sum(parts)
        self.books["commons"] += sign * commons
        self.books["community:artists"] += sign * community
        self.books["foundation"] += sign * foundation
        self.books["treasury:payout_reserve"] += sign * referrer
        self.books["treasury:operating"] -= sign * referrer

    def report(self, payment: str, paid: int, refunded: int, at: datetime) -> None:
        before = self.payments.get(payment, (0, 0, None))
        if paid < before[0] or refunded < before[1]:
            return
        self.payments[payment] = (paid, refunded, before[2] or at)

    def apply_refunds(self, payment: str) -> None:
        """A refund takes what was not spent first; the rest reverses charges in proportion, rounded down."""
        paid, refunded, _ = self.payments.get(payment, (0, 0, None))
        funded = {name: charge for name, charge in self.charges.items() if payment in charge.by}
        spent = sum(charge.by[payment] for charge in funded.values())
        reach = min(spent, max(0, spent + refunded - paid)) if refunded else 0
        for name, charge in funded.items():
            target = charge.by[payment] * reach // spent
            more = target - charge.given_back.get(payment, 0)
            if more > 0:
                charge.given_back[payment] = target
                self._reverse(name, charge, more)

    def _reverse(self, name: str, charge: Funded, more: int) -> None:
        total = sum(charge.given_back.values())
        taken = [
            max(0, part * total // charge.paid - done)
            for part, done in zip(charge.parts[:3], charge.undone, strict=True)
        ]
        charge.undone = [done + part for done, part in zip(charge.undone, taken, strict=True)]
        referrer, commons, community = taken
        share = self.pending.get(name)
        clawed = min(referrer, share.micro) if share else 0
        self._post((clawed, commons, community, more - referrer - commons - community), -1)
        self.books["platform:receipts"] += referrer - clawed
        self.books["platform:clawback_loss"] -= referrer - clawed
        if share and clawed:
            share.micro -= clawed
            self.creators[share.creator].reversed += clawed
            if not share.micro:
                del self.pending[name]

    def cleared_at(self, name: str) -> datetime | None:
        charge = self.charges[name]
        cleared = [self.payments[payment][2] for payment in charge.by]
        known = [instant for instant in cleared if instant is not None]
        return max([charge.at, *known]) if len(known) == len(cleared) else None

    def settle(self, now: datetime) -> None:
        for name, share in list(self.pending.items()):
            cleared = self.cleared_at(name)
            if cleared is not None and cleared + DELAY <= now:
                creator = self.creators[share.creator]
                creator.settled += share.micro
                creator.maturing.append((share.accrued_at + HOLD, share.micro))
                del self.pending[name]

    def withdrawable(self, who: str, now: datetime) -> int:
        creator = self.creators[who]
        return creator.settled - self.maturing(who, now)

    def maturing(self, who: str, now: datetime) -> int:
        return sum(micro for at, micro in self.creators[who].maturing if at > now)

    def hold(self, payout: str, who: str, micro: int, now: datetime) -> bool:
        creator = self.creators[who]
        if creator.frozen or micro > self.withdrawable(who, now):
            return False
        creator.settled -= micro
        creator.held += micro
        self.holds[payout] = (who, micro, "held")
        return True

    def move(self, payout: str, to: str, fee: int = 0) -> bool:
        who, micro, state = self.holds[payout]
        creator = self.creators[who]
        if (state, to) not in {("held", "returned"), ("held", "burned"), ("burned", "completed"), ("burned", "failed")}:
            return False
        if to == "burned" and creator.frozen:
            return False
        if to == "returned":
            creator.held -= micro
            creator.settled += micro
        elif to == "burned":
            creator.held -= micro
            creator.paid_out += micro
            self.books["treasury:payout_reserve"] -= micro
            self.books["provider:in_flight"] += micro
            self.books["platform:paid_out"] += micro
        elif to == "failed":
            creator.paid_out -= micro
            creator.settled += micro
            self.books["treasury:payout_reserve"] += micro
            self.books["provider:in_flight"] -= micro
            self.books["platform:paid_out"] -= micro
        else:
            self.books["provider:in_flight"] -= micro
            self.books["provider:sent"] += micro - fee
            self.books["provider:fees"] += fee
        self.holds[payout] = (who, micro, to)
        if to in {"returned", "failed"} and payout in creator.doomed:
            creator.settled -= micro
            self._forfeit(creator, micro)
        return True

    def forfeit(self, who: str) -> None:
        creator = self.creators[who]
        pending = sum(share.micro for share in self.pending.values() if share.creator == who)
        total = pending + creator.settled
        self.pending = {name: share for name, share in self.pending.items() if share.creator != who}
        creator.settled, creator.maturing = 0, []
        creator.doomed |= {payout for payout, (whose, _, _) in self.holds.items() if whose == who}
        self._forfeit(creator, total)

    def _forfeit(self, creator: Creator, total: int) -> None:
        creator.reversed += total
        self.books["platform:forfeited"] += total
        self.books["treasury:payout_reserve"] -= total
        self.books["treasury:operating"] += total

    def buckets(self, who: str, now: datetime) -> dict[str, int]:
        creator = self.creators[who]
        free = self.withdrawable(who, now)
        return {
            "pending": sum(share.micro for share in self.pending.values() if share.creator == who),
            "maturing": self.maturing(who, now),
            "withdrawable": 0 if creator.frozen else free,
            "frozen": free if creator.frozen else 0,
            "held": creator.held,
            "paid_out": creator.paid_out,
            "reversed": creator.reversed,
        }
