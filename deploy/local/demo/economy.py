"""The demo economy as inputs: who signs up when with whose code, and the charges of the real trace."""

import csv
import gzip
import json
import random
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from pathlib import Path

DATA = Path(__file__).parent / "data"
SEED = 20231116
MARKUP = 2
WAVES = 12
"""Sign-ups come in waves, two hours of the movable clock apart: a code takes ten registrations an hour."""
WAVE_INTERVAL = timedelta(hours=2)
SIGN_UPS_PER_CODE_PER_WAVE = 9
ORGANIC_SHARE = 0.25
PAYERS = 400
COMMUNITIES = ("atelier", "hangar", "harbour", "observatory")
CHANNELS = ("discord", "telegram", "x", "")
MINT_PRICES_MICRO = (0, 500_000, 1_000_000, 2_500_000)
TRAININGS_MICRO = {1: 13_000_000_000, 2: 500_000_000, 3: 700_000_000, 11: 300_000_000}
"""A training that somebody brought by the n-th creator has done: an hour of the trace alone pays nobody $10."""
CREATORS = (
    "Ada Lovelace", "Grace Hopper", "Katherine Johnson", "Hedy Lamarr", "Alan Turing", "Joan Clarke",
    "Radia Perlman", "Edsger Dijkstra", "Barbara Liskov", "Donald Knuth", "Frances Allen", "Tim Berners-Lee",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Creator:
    """Somebody with a code."""

    account_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class SignUp:
    """A payer's registration; `creator` is None for one who came without a code."""

    account_id: str
    creator: Creator | None
    wave: int
    channel: str
    ip_address: str


@dataclass(frozen=True, slots=True)
class Charge:
    """One request of the trace, priced. Amounts in micro-USD; `at` counts from the first request."""

    inference_charge_id: str
    payer_account_id: str
    community_id: str
    model: str
    model_tier: str
    revenue_micro: int
    provider_cost_micro: int
    at: timedelta
    payment_id: str = ""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Credits that a payer bought, spent to the last micro on its charges; a part may be refunded, early or late."""

    order_id: str
    payment_id: str
    account_id: str
    price_micro: int
    refunded_micro: int = 0
    refunded_late: bool = False
    """After the shares of its charges have settled: then the platform bears the creator's part."""


@dataclass(frozen=True, slots=True)
class Mint:
    """A dNFT that a payer made; most cost something."""

    action_id: str
    account_id: str
    paid_micro: int


@dataclass(frozen=True, slots=True)
class Economy:
    """All inputs of the demo."""

    creators: tuple[Creator, ...]
    sign_ups: tuple[SignUp, ...]
    charges: tuple[Charge, ...]
    purchases: tuple[Purchase, ...]
    mints: tuple[Mint, ...]

    @property
    def duration(self) -> timedelta:
        """From the first charge to the last."""
        return self.charges[-1].at

    def creator_of(self) -> dict[str, Creator | None]:
        """Who brought each payer."""
        return {sign_up.account_id: sign_up.creator for sign_up in self.sign_ups}


def build(seed: int = SEED, limit: int | None = None) -> Economy:
    """Spreads the trace over payers, creators and communities; `limit` cuts it after so many charges."""
    draw = random.Random(seed)
    creators = tuple(Creator(f"creator-{number:02d}", name) for number, name in enumerate(CREATORS, start=1))
    sign_ups = tuple(_sign_ups(draw, creators))
    charges = tuple(_charges(draw, sign_ups, limit))
    purchases = tuple(_purchases(sign_ups, charges))
    paid_by = {purchase.account_id: purchase.payment_id for purchase in purchases}
    funded = tuple(replace(charge, payment_id=paid_by.get(charge.payer_account_id, "")) for charge in charges)
    trainings = tuple(_trainings(creators, sign_ups, paid_by))
    mints = tuple(_mints(random.Random(seed), sign_ups, paid_by))
    return Economy(creators, sign_ups, trainings + funded, purchases, mints)


def _sign_ups(draw: random.Random, creators: tuple[Creator, ...]) -> Iterator[SignUp]:
    # A few creators bring most of the payers, as everywhere.
    popularity = [1 / rank for rank in range(1, len(creators) + 1)]
    brought = dict.fromkeys(creators, 0)
    for number in range(1, PAYERS + 1):
        creator = None if draw.random() < ORGANIC_SHARE else draw.choices(creators, popularity)[0]
        if creator is not None and brought[creator] >= WAVES * SIGN_UPS_PER_CODE_PER_WAVE:
            creator = None
        wave = draw.randrange(WAVES)
        if creator is not None:
            wave = brought[creator] // SIGN_UPS_PER_CODE_PER_WAVE
            brought[creator] += 1
        # Two networks kept for documentation: nobody's.
        address = f"{('198.51.100', '203.0.113')[number % 2]}.{number // 2 + 1}"
        yield SignUp(f"payer-{number:04d}", creator, wave, draw.choice(CHANNELS), address)


def _charges(draw: random.Random, sign_ups: tuple[SignUp, ...], limit: int | None) -> Iterator[Charge]:
    prices = json.loads((DATA / "prices.json").read_text())
    models = sorted(prices)
    appetite = [draw.paretovariate(1.2) for _ in sign_ups]
    first: datetime | None = None
    for number, (at, context_tokens, generated_tokens) in enumerate(_trace(), start=1):
        if limit is not None and number > limit:
            return
        first = first or at
        payer = draw.choices(sign_ups, appetite)[0]
        model = draw.choice(models)
        price = prices[model]
        cost_usd = context_tokens * Decimal(price["input"]) + generated_tokens * Decimal(price["output"])
        cost_micro = int((cost_usd * 1_000_000).to_integral_value(ROUND_UP))
        yield Charge(
            inference_charge_id=f"azure-2023-11-16-{number:05d}",
            payer_account_id=payer.account_id,
            community_id=draw.choice(COMMUNITIES),
            model=model,
            model_tier=price["tier"],
            revenue_micro=MARKUP * cost_micro,
            provider_cost_micro=cost_micro,
            at=at - first,
        )


def _purchases(sign_ups: tuple[SignUp, ...], charges: tuple[Charge, ...]) -> Iterator[Purchase]:
    """Every seventh payer buys what it spends; of the two who spend most, one is refunded early and one late."""
    spent: Counter[str] = Counter()
    for charge in charges:
        spent[charge.payer_account_id] += charge.revenue_micro
    referred = [sign_up.account_id for sign_up in sign_ups if sign_up.creator is not None]
    first, second = sorted(referred, key=lambda account_id: (-spent[account_id], account_id))[:2]
    for number, sign_up in enumerate(sign_ups, start=1):
        account_id = sign_up.account_id
        if not spent[account_id] or (number % 7 and account_id not in {first, second}):
            continue
        refunded_micro = {first: spent[account_id] // 2, second: spent[account_id]}.get(account_id, 0)
        yield Purchase(
            order_id=f"order-{number:04d}",
            payment_id=f"{5_000_000_000 + number}",
            account_id=account_id,
            price_micro=spent[account_id],
            refunded_micro=refunded_micro,
            refunded_late=account_id == second,
        )


def _trainings(
    creators: tuple[Creator, ...], sign_ups: tuple[SignUp, ...], paid_by: Container[str]
) -> Iterator[Charge]:
    """Large charges by invoice, at the instant of the first request."""
    for number, revenue_micro in TRAININGS_MICRO.items():
        payer = next(
            each.account_id
            for each in sign_ups
            if each.creator == creators[number - 1] and each.account_id not in paid_by
        )
        yield Charge(
            inference_charge_id=f"training-{number:02d}",
            payer_account_id=payer,
            community_id=COMMUNITIES[number % len(COMMUNITIES)],
            model="gpt-4.1",
            model_tier="standard",
            revenue_micro=revenue_micro,
            provider_cost_micro=revenue_micro // MARKUP,
            at=timedelta(0),
        )


def _mints(draw: random.Random, sign_ups: tuple[SignUp, ...], paid_by: Container[str]) -> Iterator[Mint]:
    """Every second payer that buys no credits mints one."""
    for number, sign_up in enumerate(sign_ups, start=1):
        paid_micro = draw.choice(MINT_PRICES_MICRO)
        if number % 2 == 0 and sign_up.account_id not in paid_by:
            yield Mint(f"mint-{number:04d}", sign_up.account_id, paid_micro)


def _trace() -> Iterator[tuple[datetime, int, int]]:
    with gzip.open(DATA / "azure_llm_inference_conv_2023.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            # The trace counts in 100 ns; we count in microseconds.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            yield at, int(row["ContextTokens"]), int(row["GeneratedTokens"])
