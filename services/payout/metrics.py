"""What payout counts."""

from prometheus_client import Counter, Gauge

PROVIDER_CALLS = Counter("creator_payout_provider_calls_total", "Calls to the provider.", ["call", "outcome"])
UNKNOWN = Counter("creator_payout_unknown_total", "Payouts of which nobody knew whether the provider had them.")
REJECTED = Counter("creator_payout_rejected_total", "Attempts that the provider refused, by reason.", ["reason"])
STALLED = Counter("creator_payout_stalled_total", "Payouts that operators have to look at, by reason.", ["reason"])
HALTED = Gauge("creator_payout_provider_halted", "1 while nothing is handed over because the account is not safe.")
QUEUED = Gauge("creator_payout_queued", "Payouts that wait to be handed over; one batch fits into 30 seconds.")
OVERDUE = Gauge("creator_payout_overdue", "Payouts that were not final 72 hours after they were asked for.")
OLDEST_SECONDS = Gauge("creator_payout_oldest_open_seconds", "Age of the oldest payout that is not final.")
VERIFY_EXHAUSTED = Counter("creator_payout_verify_exhausted_total", "Batches whose second factor was refused thrice.")
CALLBACKS = Counter("creator_payout_callbacks_total", "Callbacks, by kind and what came of them.", ["kind", "outcome"])
DIFFERENCES = Gauge("creator_payout_differences_open", "Differences with the provider or the ledger that are open.")
RECONCILED_SECONDS = Gauge("creator_payout_reconciled_timestamp_seconds", "When the last reconciliation ended.")
ASKED = Counter("creator_payout_requests_total", "Requests for a payout, by what came of them.", ["outcome"])
WAITING = Counter(
    "creator_payout_waits_total", "Steps towards the ledger that were put off, by reason.", ["step", "reason"]
)
SETTLED = Counter("creator_payout_settled_total", "Final payouts whose money the ledger has settled.", ["stage"])
