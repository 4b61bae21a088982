"""What payout counts."""

from prometheus_client import Counter

PROVIDER_CALLS = Counter("creator_payout_provider_calls_total", "Calls to the provider.", ["call", "outcome"])
