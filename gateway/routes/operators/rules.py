"""Revenue rules: proposed by one, approved by another, cooled down, never changed in secret."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.distribution.v1 import rules_pb2

_RULES = Area(
    "rules",
    "Operators: rules",
    "rules",
    rules_pb2.DESCRIPTOR.services_by_name["RulesService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "RULE_VERSION_INVALID RULE_RATES_MISSING INVALID_RATES COOLING_INVALID RULE_STATES_INVALID "
            "RULE_PAGE_INVALID ORDER_INVALID CANDIDATE_MISSING LOSERS_OUT_OF_RANGE SIMULATED_PERIOD_INVALID "
            "INSTANT_MISSING INVALID_TIMESTAMP TIER_INVALID NAME_INVALID REASON_INVALID"
        ),
        HTTPStatus.FORBIDDEN: "RULE_NOT_YOURS RULE_NEEDS_SECOND",
        HTTPStatus.NOT_FOUND: "RULE_UNKNOWN",
        HTTPStatus.CONFLICT: "RULE_STATE_WRONG",
        HTTPStatus.TOO_MANY_REQUESTS: "SIMULATION_TOO_LONG",
    },
)

ROUTES = (
    _RULES.get("/rules", "ListRules"),
    _RULES.act("/rules", "ProposeRule", optional=("cooling_days",)),
    _RULES.get("/rules/{rule_version}", "GetRule"),
    _RULES.act("/rules/{rule_version}", "UpdateRule", optional=("cooling_days",), method="PUT"),
    _RULES.act("/rules/{rule_version}/submit", "SubmitRule"),
    _RULES.act("/rules/{rule_version}/approve", "ApproveRule"),
    _RULES.act("/rules/{rule_version}/reject", "RejectRule"),
    _RULES.act("/kill-switch", "ProposeKillSwitch"),
    _RULES.get("/active-rule", "GetActiveRule"),
    _RULES.ask("/rule-simulations", "SimulateRule", optional=("losers",)),
    _RULES.get("/rule-audit", "ListRuleAudit"),
    _RULES.get("/tier-suspensions", "ListTierSuspensions"),
)
