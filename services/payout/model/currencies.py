"""Currencies that payouts can be made in."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Final


class Network(Enum):
    """What decides how an address is spelled; its value is for people."""

    ETHEREUM = "Ethereum"
    BSC = "BNB Smart Chain"
    POLYGON = "Polygon"
    TRON = "Tron"
    SOLANA = "Solana"
    BITCOIN = "Bitcoin"
    LITECOIN = "Litecoin"
    DOGECOIN = "Dogecoin"
    XRP = "XRP Ledger"


_EVM: Final = frozenset({Network.ETHEREUM, Network.BSC, Network.POLYGON})


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency by its ticker at the provider."""

    ticker: str
    name: str
    network: Network

    @property
    def is_evm(self) -> bool:
        """Whether its addresses can sign a text (EIP-191)."""
        return self.network in _EVM

    @property
    def is_dollar(self) -> bool:
        """Whether one unit is meant to be worth one dollar."""
        return self.ticker.startswith("usd")

    @property
    def has_memo(self) -> bool:
        """Whether a tag may go with the address."""
        return self.network is Network.XRP


_ALL: Final = (
    Currency("bnbbsc", "BNB", Network.BSC),
    Currency("btc", "Bitcoin", Network.BITCOIN),
    Currency("doge", "Dogecoin", Network.DOGECOIN),
    Currency("eth", "Ether", Network.ETHEREUM),
    Currency("ltc", "Litecoin", Network.LITECOIN),
    Currency("sol", "Solana", Network.SOLANA),
    Currency("trx", "Tron", Network.TRON),
    Currency("usdc", "USD Coin", Network.ETHEREUM),
    Currency("usdcmatic", "USD Coin", Network.POLYGON),
    Currency("usdcsol", "USD Coin", Network.SOLANA),
    Currency("usdtbsc", "Tether USD", Network.BSC),
    Currency("usdterc20", "Tether USD", Network.ETHEREUM),
    Currency("usdtsol", "Tether USD", Network.SOLANA),
    Currency("usdttrc20", "Tether USD", Network.TRON),
    Currency("xrp", "XRP", Network.XRP),
)
CURRENCIES: Final = MappingProxyType({currency.ticker: currency for currency in _ALL})
"""Every currency whose addresses can be checked here. Which of them are open is a setting."""


@dataclass(frozen=True, slots=True)
class Price:
    """What the provider said of a currency; in units of it."""

    currency: str
    units_per_usd: Decimal
    fee_units: Decimal
    minimum_units: Decimal
    asked_at: datetime
