"""The payment provider's simulator: NOWPayments' API v1 over HTTP, with faults to order."""

from deploy.local.nowpayments.merchant import Coin, Merchant
from deploy.local.nowpayments.provider import Provider

__all__ = ["Coin", "Merchant", "Provider"]
