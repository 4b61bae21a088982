"""What distribution counts; once per group commit, never per charge."""

from collections import Counter as Count
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from services.distribution.model import Answer

CHARGES = Counter(
    "creator_distribution_charges_total", "Charges answered from the ledger, by what the referrer got.", ["outcome"]
)
REPLAYS = Counter("creator_distribution_replays_total", "Charges that had been answered before.")
REFERRER = Counter("creator_distribution_referrer_micro_total", "Shares of referrers, in micro-USD.")
GROUP_CHARGES = Histogram(
    "creator_distribution_group_charges", "Charges per group commit.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
GROUP_SECONDS = Histogram(
    "creator_distribution_group_seconds",
    "Time of a group commit, from the first statement to the commit.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
SETTLED = Counter("creator_distribution_settled_micro_total", "Earnings settled, in micro-USD.")
CLAWED_BACK = Counter("creator_distribution_clawed_back_micro_total", "Taken back from pending earnings by refunds.")
CLAWBACK_LOSS = Counter("creator_distribution_clawback_loss_micro_total", "Refunds of settled shares, borne by us.")
GRANTED = Counter("creator_distribution_granted_micro_total", "Credits granted, in micro-USD.")
BURNED = Counter("creator_distribution_burned_micro_total", "Credits burned for charges, in micro-USD.")
HOLDS = Counter("creator_distribution_holds_total", "Holds of payouts, by the state they went into.", ["state"])
COVERAGE = Gauge("creator_distribution_coverage_ratio", "Payout reserve by settled and held; 1 or more is solvent.")
RESERVE = Gauge("creator_distribution_reserve_micro", "The payout reserve, in micro-USD.")
CAMPAIGNS = Gauge(
    "creator_distribution_campaign_micro",
    "Money of active campaigns by pool: available, reserved, granted; in micro-USD.",
    ["pool", "part"],
)
OWED_SETTLED = Gauge("creator_distribution_owed_settled_micro", "Settled earnings of all creators, in micro-USD.")
OWED_HELD = Gauge("creator_distribution_owed_held_micro", "Held for payouts, in micro-USD.")
IN_FLIGHT = Gauge("creator_distribution_in_flight_micro", "Burned and not confirmed either way, in micro-USD.")
INGESTED = Counter(
    "creator_distribution_ingested_charges_total", "Charges that came by the broker, by what came of them.", ["outcome"]
)
AUDIT_VIOLATIONS = Gauge(
    "creator_distribution_audit_violations", "Rows that break an invariant, at the last audit.", ["check"]
)
AUDITS = Counter("creator_distribution_audits_total", "Audits that ended, by how.", ["state"])
RULE_CHANGES = Counter("creator_distribution_rule_changes_total", "Rules that went into a state.", ["state"])
SUSPENDED_TIERS = Gauge("creator_distribution_suspended_tiers", "Model tiers suspended for their margin.")
WAITING = Gauge("creator_distribution_waiting_charges", "Charges that wait for the next group commit.")
BISECTED = Counter("creator_distribution_bisected_groups_total", "Group commits that failed and were tried in halves.")
LOST = Counter("creator_distribution_writer_losses_total", "Times the writer lost its database.")
UNATTRIBUTED = Counter(
    "creator_distribution_attribution_misses_total",
    "Payers whose attribution was not in memory, by where it was.",
    ["source"],
)


def count(settled: Iterable[Answer | Exception | None]) -> None:
    """Count what one group commit answered."""
    answers = [answer for answer in settled if isinstance(answer, Answer)]
    new = [answer.posted.decision for answer in answers if not answer.replayed]
    for outcome, charges in Count(decision.referrer_outcome for decision in new).items():
        CHARGES.labels(outcome.name).inc(charges)
    REFERRER.inc(sum(decision.split.referrer_micro for decision in new))
    REPLAYS.inc(len(answers) - len(new))
