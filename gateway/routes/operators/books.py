"""The ledger, documents made of it, and the audits that recompute it."""

from http import HTTPStatus

from gateway.derived.area import Area
from protos.distribution.v1 import audit_pb2, documents_pb2, ledger_pb2

_LEDGER = Area(
    "ledger",
    "Operators: ledger",
    "ledger",
    ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "LEDGER_ACCOUNT_INVALID ACCOUNT_NAMES_TOO_MANY PAYER_INVALID LEDGER_PAGE_INVALID "
            "ENTRIES_PAGE_INVALID INSTANT_MISSING STATEMENT_PERIOD_INVALID TRANSFER_ID_INVALID "
            "INVALID_TIMESTAMP"
        ),
        HTTPStatus.NOT_FOUND: "TRANSFER_UNKNOWN",
    },
)

_DOCUMENTS = Area(
    "documents",
    "Operators: documents",
    "documents",
    documents_pb2.DESCRIPTOR.services_by_name["DocumentsService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "DOCUMENT_KEY_INVALID DOCUMENT_PAGE_INVALID DOCUMENT_TYPE_INVALID DOCUMENT_INVALID FLOW_INVALID "
            "CHARGE_ID_INVALID INVALID_TIMESTAMP"
        ),
        HTTPStatus.NOT_FOUND: "DOCUMENT_UNKNOWN",
    },
)

_AUDITS = Area(
    "audits",
    "Operators: audits",
    "audit",
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
    {
        HTTPStatus.BAD_REQUEST: "AUDIT_ID_INVALID AUDIT_ORDER_INVALID AUDIT_PAGE_INVALID",
        HTTPStatus.NOT_FOUND: "AUDIT_UNKNOWN",
    },
)

ROUTES = (
    _LEDGER.get("/ledger/balances", "GetBalances"),
    _LEDGER.get("/ledger/balance-at", "GetBalanceAt", needed=("account_name", "at")),
    _LEDGER.get("/ledger/entries", "ListEntries", needed=("account_name",)),
    _LEDGER.get("/ledger/statement", "GetStatement", needed=("account_name", "from_time", "to_time")),
    _LEDGER.get("/ledger/transfers/{transfer_id}", "GetTransfer"),
    _LEDGER.get("/ledger/platform", "ListPlatformBalances"),
    _LEDGER.get("/ledger/trial-balance", "GetTrialBalance"),
    _DOCUMENTS.get("/documents/billing-entry", "GetBillingEntry"),
    _DOCUMENTS.get("/documents/credit-notes", "ListCreditNotes", needed=("billing_entry_id",)),
    _DOCUMENTS.get("/documents/credit-notes/{credit_note_id}", "GetCreditNote"),
    _DOCUMENTS.get("/documents/escrow-entry", "GetEscrowEntry"),
    _DOCUMENTS.get("/documents/events", "ListDomainEvents"),
    _DOCUMENTS.ask("/documents/verify", "VerifyEconomyFlow"),
    _AUDITS.get("/audits", "ListAudits"),
    _AUDITS.act("/audits", "RunAudit"),
    _AUDITS.get("/audits/{audit_id}", "GetAuditReport"),
    _AUDITS.get("/audits/{audit_id}/violations", "ListViolations"),
)
