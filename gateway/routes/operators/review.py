"""The review queue, and the weights of the score that fills it."""

from dataclasses import replace
from http import HTTPStatus

from gateway.derived.area import Area
from gateway.routes.operators.accounts import ADMIN

_REVIEW = Area(
    "review",
    "Operators: review",
    "referral_admin",
    ADMIN,
    {
        HTTPStatus.BAD_REQUEST: (
            "CASE_ID_INVALID CASE_FILTER_INVALID CASES_PAGE_INVALID CASES_TOO_MANY DECISION_INVALID "
            "ACCOUNT_REF_INVALID NOTE_INVALID ACT_REASON_INVALID ACTOR_INVALID"
        ),
        HTTPStatus.NOT_FOUND: "CASE_UNKNOWN",
        HTTPStatus.CONFLICT: "CASE_DECIDED BONUS_NOT_WITHHELD",
    },
)

_RISK = replace(
    _REVIEW,
    name="risk",
    problems={
        HTTPStatus.BAD_REQUEST: (
            "RISK_WEIGHTS_INVALID RISK_THRESHOLD_INVALID RISK_WEIGHTS_PAGE_INVALID SHADOW_PERIOD_INVALID "
            "INVALID_TIMESTAMP ACT_REASON_INVALID ACTOR_INVALID"
        ),
        HTTPStatus.FORBIDDEN: "RISK_WEIGHTS_NEED_SECOND",
        HTTPStatus.NOT_FOUND: "RISK_WEIGHTS_UNKNOWN",
        HTTPStatus.CONFLICT: "RISK_WEIGHTS_NOT_SHADOW",
    },
)

ROUTES = (
    _REVIEW.get("/cases", "ListReviewCases"),
    _REVIEW.get("/cases/{case_id}", "GetReviewCase"),
    _REVIEW.act("/cases/{case_id}/decide", "DecideReviewCase"),
    _REVIEW.act("/cases/{case_id}/notes", "AddReviewNote"),
    _REVIEW.act("/case-decisions", "DecideReviewCases"),
    _RISK.get("/risk-weights", "ListRiskWeights"),
    _RISK.act("/risk-weights", "ProposeRiskWeights"),
    _RISK.act("/risk-weights/{weights_version}/activate", "ActivateRiskWeights"),
    _RISK.get("/risk-weights/{weights_version}/shadow-report", "GetShadowReport", needed=("from_time", "to_time")),
)
