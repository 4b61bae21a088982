"""Grafana's dashboards as code: `python -m deploy.observability.dashboards` writes `dashboards/*.json`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).with_name("dashboards")
_WIDTH, _HEIGHT = 8, 7
_GROUP = "creator_distribution_group_charges"


@dataclass(frozen=True)
class Panel:
    """One picture: what it is called, what it shows by legend, and in which unit."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    single: bool = False


def _rate(metric: str, by: str = "") -> str:
    return f"sum by ({by}) (rate({metric}[5m]))" if by else f"sum(rate({metric}[5m]))"


def _slowest(metric: str, by: str) -> str:
    """The 99th percentile of a histogram."""
    return f"histogram_quantile(0.99, sum by (le, {by}) (rate({metric}_bucket[5m])))"


def _usd(expression: str) -> str:
    return f"({expression}) / 1e6"


def _per_day(metric: str) -> str:
    return _usd(f"sum(increase({metric}[1d]))")


BUSINESS = [
    Panel("Registrations", {"{{outcome}}": _rate("creator_referral_registration_attempts_total", "outcome")}, "reqps"),
    Panel(
        "Refused, by reason", {"{{reason}}": _rate("creator_referral_registration_attempts_total", "reason")}, "reqps"
    ),
    Panel("Bonuses", {"{{state}}": "sum by (state) (increase(creator_referral_bonuses_total[1h]))"}),
    Panel("Bonuses that wait", {"{{what}}": "max by (what) (creator_referral_bonuses_waiting)"}),
    Panel(
        "Cost per converted referral, 30 days",
        {"": _usd("max(creator_referral_launch_cac_micro_usd)")},
        "currencyUSD",
        single=True,
    ),
    Panel(
        "Referrals that pay, 30 days",
        {"": "max(creator_referral_launch_conversion_bps) / 10000"},
        "percentunit",
        single=True,
    ),
    Panel(
        "Net margin after referrals, 30 days",
        {"": "max(creator_referral_launch_net_margin_bps) / 10000"},
        "percentunit",
        single=True,
    ),
    Panel(
        "Cases for review",
        {
            "{{subject}}": "sum by (subject) (creator_referral_review_open)",
            "{{subject}} overdue": "sum by (subject) (creator_referral_review_overdue)",
        },
    ),
    Panel("Wallet links", {"{{outcome}}": _rate("creator_score_wallet_links_total", "outcome")}, "reqps"),
    Panel(
        "Runs of rewards", {"{{state}} {{reason}}": "sum by (state, reason) (increase(creator_score_runs_total[1d]))"}
    ),
    Panel("Rewarded in a day", {"": _per_day("creator_score_rewarded_micro_total")}, "currencyUSD"),
    Panel("Erasures", {"{{state}}": "max by (state) (creator_referral_erasures)"}),
]

MONEY = [
    Panel(
        "Referrers' shares in a day",
        {"referrers": _per_day("creator_distribution_referrer_micro_total")},
        "currencyUSD",
    ),
    Panel(
        "Settled, clawed back, lost in a day",
        {
            "settled": _per_day("creator_distribution_settled_micro_total"),
            "clawed back": _per_day("creator_distribution_clawed_back_micro_total"),
            "borne by us": _per_day("creator_distribution_clawback_loss_micro_total"),
        },
        "currencyUSD",
    ),
    Panel(
        "Credits in a day",
        {
            "granted": _per_day("creator_distribution_granted_micro_total"),
            "burned": _per_day("creator_distribution_burned_micro_total"),
        },
        "currencyUSD",
    ),
    Panel(
        "Reserve and what is owed",
        {
            "reserve": _usd("max(creator_distribution_reserve_micro)"),
            "settled": _usd("max(creator_distribution_owed_settled_micro)"),
            "held": _usd("max(creator_distribution_owed_held_micro)"),
            "in flight": _usd("max(creator_distribution_in_flight_micro)"),
        },
        "currencyUSD",
    ),
    Panel("Coverage", {"": "min(creator_distribution_coverage_ratio)"}, "percentunit", single=True),
    Panel(
        "Campaigns",
        {"{{pool}} {{part}}": _usd("sum by (pool, part) (creator_distribution_campaign_micro)")},
        "currencyUSD",
    ),
    Panel("Charges by outcome", {"{{outcome}}": _rate("creator_distribution_charges_total", "outcome")}, "reqps"),
    Panel("Rows that break an invariant", {"{{check}}": "max by (check) (creator_distribution_audit_violations)"}),
    Panel("Audits", {"{{state}}": "sum by (state) (increase(creator_distribution_audits_total[1h]))"}),
    Panel("Suspended tiers", {"": "max(creator_distribution_suspended_tiers)"}, single=True),
]

PAYOUTS = [
    Panel("Waiting for the provider", {"queued": "max(creator_payout_queued)"}),
    Panel("Oldest that is not final", {"": "max(creator_payout_oldest_open_seconds)"}, "s", single=True),
    Panel("Overdue (72 h)", {"": "max(creator_payout_overdue)"}, single=True),
    Panel("Holds", {"{{state}}": "sum by (state) (increase(creator_distribution_holds_total[1h]))"}),
    Panel(
        "Rejected and stalled",
        {
            "rejected {{reason}}": "sum by (reason) (increase(creator_payout_rejected_total[1h]))",
            "stalled {{reason}}": "sum by (reason) (increase(creator_payout_stalled_total[1h]))",
        },
    ),
    Panel(
        "Calls to the provider",
        {"{{call}} {{outcome}}": _rate("creator_payout_provider_calls_total", "call, outcome")},
        "reqps",
    ),
    Panel(
        "Callbacks", {"{{kind}} {{outcome}}": "sum by (kind, outcome) (increase(creator_payout_callbacks_total[1h]))"}
    ),
    Panel("Differences that are open", {"": "max(creator_payout_differences_open)"}, single=True),
    Panel("Halted", {"": "max(creator_payout_provider_halted)"}, single=True),
]

SERVICES = [
    Panel("Calls", {"{{service}}": _rate("creator_rpc_seconds_count", "service")}, "reqps"),
    Panel(
        "Calls that fail",
        {"{{service}} {{code}}": 'sum by (service, code) (rate(creator_rpc_seconds_count{code!="OK"}[5m]))'},
        "reqps",
    ),
    Panel(
        "99th percentile",
        {"{{service}}": _slowest("creator_rpc_seconds", "service")},
        "s",
    ),
    Panel("REST", {"{{status}}": _rate("creator_gateway_requests_total", "status")}, "reqps"),
    Panel(
        "REST, 99th percentile",
        {"{{route}}": _slowest("creator_gateway_request_seconds", "route")},
        "s",
    ),
    Panel("Over a limit", {"{{limited}}": _rate("creator_gateway_limited_total", "limited")}, "reqps"),
    Panel("Events not published", {"{{service}}": "max by (service) (creator_relay_unpublished_events)"}),
    Panel(
        "Events behind",
        {"{{service}} {{topic}}": "sum by (service, topic) (min without (instance) (creator_consumer_lag_events))"},
    ),
    Panel(
        "Dead letters",
        {"{{service}} {{topic}}": "sum by (service, topic) (increase(creator_inbox_dead_letters_total[1h]))"},
    ),
    Panel(
        "Jobs that fail", {"{{service}} {{job}}": "sum by (service, job) (increase(creator_job_failures_total[15m]))"}
    ),
    Panel(
        "Charges in a group commit",
        {"mean": f"{_rate(_GROUP + '_sum')} / {_rate(_GROUP + '_count')}"},
    ),
    Panel("Memory", {"{{app}} {{instance}}": "process_resident_memory_bytes"}, "bytes"),
]

DASHBOARDS = {"business": BUSINESS, "money": MONEY, "payouts": PAYOUTS, "services": SERVICES}


def render(name: str) -> str:
    """One dashboard as Grafana reads it."""
    dashboard = {
        "uid": f"creator-{name}",
        "title": name.capitalize(),
        "tags": ["creator-economy"],
        "schemaVersion": 41,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "panels": list(_panels(DASHBOARDS[name])),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _panels(panels: list[Panel]) -> Iterator[dict[str, Any]]:
    for number, panel in enumerate(panels):
        targets = [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend or panel.title}
            for place, (legend, query) in enumerate(panel.queries.items())
        ]
        yield {
            "id": number + 1,
            "title": panel.title,
            "type": "stat" if panel.single else "timeseries",
            "datasource": {"type": "prometheus", "uid": "prometheus"},
            "gridPos": {"x": number % 3 * _WIDTH, "y": number // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
            "targets": targets,
        }


if __name__ == "__main__":
    for each in DASHBOARDS:
        (DIRECTORY / f"{each}.json").write_text(render(each))
