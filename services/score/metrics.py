"""What score counts."""

from prometheus_client import Counter, Gauge

LINKS = Counter("creator_score_wallet_links_total", "Tries to link a wallet, by what came of them.", ["outcome"])
IMPORTS = Counter("creator_score_imports_total", "Files of scores, by the state they ended in.", ["state"])
SCORES_TAKEN_AT = Gauge("creator_score_scores_taken_at_seconds", "When the newest scores were taken; 0 without any.")
RUNS = Counter("creator_score_runs_total", "Runs that ended, by state and reason.", ["state", "reason"])
REWARDED = Counter("creator_score_rewarded_micro_total", "Micro-USD given by committed runs.")
RUN_WAITING = Gauge(
    "creator_score_run_waiting", "1 while the schedule cannot begin a run, by what it waits for.", ["reason"]
)
