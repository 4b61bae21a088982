"""The account at the provider that the platform pays from, and what it may and must do."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final

EMAIL: Final = "payouts@example.test"
PAYABLE: Final[Mapping[str, tuple[str, str, str]]] = {
    # ticker: fee of a withdrawal, least that is withdrawn, dollars that one is worth
    "usdttrc20": ("1.327659", "10.98424792", "1"),
    "usdterc20": ("0.91", "0.41491074", "1"),
    "usdcmatic": ("0.0114", "0.5", "1"),
    "usdcbase": ("0.0021", "0.5", "1"),
    "trx": ("1.1", "5", "0.28"),
    "eth": ("0.00012", "0.0005", "3400"),
    "xrp": ("0.2", "1.1", "2.3"),
}


@dataclass
class Coin:
    """What the merchant holds in custody of one coin."""

    amount: Decimal = Decimal(0)
    pending: Decimal = Decimal(0)


@dataclass
class Merchant:
    """Its keys, its custody, and the settings of its account."""

    api_key: str
    email: str
    password: str
    balance: dict[str, Coin] = field(default_factory=dict)
    allowed_addresses: frozenset[str] = frozenset()
    """Client addresses that may ask for more than status and auth; empty allows all."""
    totp_secret: str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # noqa: S105 - the published vector
    ipn_secret: str = ""
    """Without one no callback is sent, as at the provider."""
    ipn_url: str = ""
    """Where callbacks go that name no address of their own."""
    fee_paid_by: str = "sender"
    """"sender": on top, from custody; "receiver": out of the amount."""
    unique_ids: bool = True
    """Whether a unique_external_id is refused the second time."""
    step: timedelta = timedelta(seconds=60)
    """How long a withdrawal stays in each state on its way."""
    verify_within: timedelta = timedelta(hours=1)
    ipn_tries: int = 4
    ipn_wait_seconds: float = 0.5
    """Real time before a callback that failed is sent again, each time the same."""

    def coin(self, ticker: str) -> Coin:
        return self.balance.setdefault(ticker, Coin())


def derived(api_key: str, what: str) -> str:
    """A development secret that both sides of the local stack can make: base32."""
    return base64.b32encode(hashlib.sha256(f"{what} of {api_key}".encode()).digest())[:24].decode()
