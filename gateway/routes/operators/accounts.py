"""Accounts: codes, standing, exemptions, erasure. Their ids are never in a path: paths are logged."""

from dataclasses import replace
from http import HTTPStatus

from gateway.derived.area import Area
from protos.referral.v1 import admin_pb2

ADMIN = admin_pb2.DESCRIPTOR.services_by_name["ReferralAdminService"]

_ACCOUNTS = Area(
    "accounts",
    "Operators: accounts",
    "referral_admin",
    ADMIN,
    {
        HTTPStatus.BAD_REQUEST: (
            "ACCOUNT_ID_INVALID ACCOUNT_REF_INVALID SUBJECT_MISSING ACT_REASON_INVALID ACTOR_INVALID "
            "EXEMPTION_INVALID STANDING_INVALID EXPLAIN_TIME_INVALID INVALID_TIMESTAMP"
        ),
        HTTPStatus.FORBIDDEN: "FRAUD_NEEDS_SECOND",
        HTTPStatus.NOT_FOUND: "ACCOUNT_NOT_KNOWN ACCOUNT_UNKNOWN CODE_UNKNOWN",
        HTTPStatus.CONFLICT: "STANDING_FINAL ACCOUNT_NOT_SUSPENDED CODE_ENDED CODE_EXPIRED CODE_REVOKED",
    },
)

_ERASURES = replace(
    _ACCOUNTS,
    name="erasures",
    problems={
        HTTPStatus.BAD_REQUEST: "ACCOUNT_ID_INVALID ACT_REASON_INVALID ACTOR_INVALID ERASURE_ID_INVALID",
        HTTPStatus.NOT_FOUND: "ACCOUNT_UNKNOWN ERASURE_UNKNOWN",
        HTTPStatus.CONFLICT: "PAYOUT_OPEN UNPAID_EARNINGS",
        HTTPStatus.SERVICE_UNAVAILABLE: "MONEY_UNKNOWN",
    },
)

_FIGURES = replace(
    _ACCOUNTS,
    name="figures",
    tag="Operators: figures",
    problems={HTTPStatus.BAD_REQUEST: "FIGURES_PERIOD_INVALID INVALID_TIMESTAMP"},
)

_ACTS = replace(
    _ACCOUNTS,
    name="acts",
    tag="Operators: audits",
    problems={HTTPStatus.BAD_REQUEST: "AUDIT_LOG_PAGE_INVALID ACCOUNT_REF_INVALID ACTOR_INVALID"},
)

ROUTES = (
    _ACCOUNTS.get("/accounts", "LookUpAccount"),
    _ACCOUNTS.act("/codes/{code}/revoke", "RevokeCode"),
    _ACCOUNTS.ask("/attribution", "ExplainAttribution", optional=("at",)),
    _ACCOUNTS.act("/exemptions", "ExemptAccount"),
    _ACCOUNTS.act("/exemptions/end", "EndExemption"),
    _ACCOUNTS.act("/standing", "OverrideStanding"),
    _ACCOUNTS.act("/standing/reinstate", "ReinstateAccount"),
    _ACCOUNTS.act("/standing/confirm-fraud", "ConfirmFraud"),
    _ERASURES.act("/erasures", "RequestErasure", optional=("forfeit_consent",)),
    _ERASURES.get("/erasures/{erasure_id}", "GetErasure"),
    _FIGURES.get("/figures", "GetLaunchFigures", needed=("from_time", "to_time")),
    _ACTS.get("/acts", "ListAuditLog"),
)
