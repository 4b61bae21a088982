"""Checks of two documents against each other: verify_economy_flow(source, target, entry)."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from libs.money import BPS
from libs.nesting import shallow
from libs.refusals import InvalidArgument

DOCUMENT_BYTES_MAX: Final = 64 * 1024
_AMOUNT: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_MOVES: Final[Mapping[str, frozenset[str]]] = {
    "held": frozenset({"released", "disputed", "expired"}),
    "disputed": frozenset({"released", "refunded"}),
    "released": frozenset(),
    "refunded": frozenset(),
    "expired": frozenset(),
}

MESSAGES: Final[Mapping[str, str]] = {
    "": "The check holds.",
    "DOCUMENT_MALFORMED": "A document lacks what the check needs, or spells it wrongly.",
    "ENTRY_UNKNOWN": "A note is against a billing entry that is not among the sources.",
    "CREDIT_OVER_TOTAL": "The notes against an entry are more than its total.",
    "FULL_REFUND_TWICE": "An entry is refunded in full more than once.",
    "REFERRAL_OVER_SHARE": "Referral revenue is more than the referrers' rate of the revenue.",
    "REFERRAL_OVER_REVENUE": "Referral revenue is more than the revenue.",
    "ESCROW_OTHER": "The two are not the same escrow.",
    "ESCROW_ILLEGAL_MOVE": "The second state may not follow the first.",
    "ESCROW_FIELDS": "A state lacks its fields, or has those of another.",
}


class DocumentInvalid(InvalidArgument):
    """A document is a JSON object, or an array of them, of at most 64 KiB."""


class FlowInvalid(InvalidArgument):
    """The check is one that there is."""


def read(text: str, field: str) -> list[dict[str, Any]]:
    """Read one document or several; raises DocumentInvalid naming the field."""
    if len(text.encode()) > DOCUMENT_BYTES_MAX:
        raise DocumentInvalid(field=field)
    try:
        found = json.loads(shallow(text))
    except ValueError:
        raise DocumentInvalid(field=field) from None
    documents = found if isinstance(found, list) else [found]
    if not documents or not all(isinstance(each, dict) for each in documents):
        raise DocumentInvalid(field=field)
    return documents


def verify(flow: int, source: Sequence[Mapping[str, Any]], target: Sequence[Mapping[str, Any]]) -> str:
    """Return why a flow does not hold, or nothing where it does; raises FlowInvalid."""
    check = {1: _earnings, 2: _credit, 3: _escrow}.get(flow)
    if check is None:
        raise FlowInvalid(field="entry")
    try:
        return check(source, target)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "DOCUMENT_MALFORMED"


def _micro(text: Any) -> int:
    if not (isinstance(text, str) and _AMOUNT.fullmatch(text)):
        raise ValueError
    return int(text)


def _earnings(entries: Sequence[Mapping[str, Any]], earnings: Sequence[Mapping[str, Any]]) -> str:
    """Earnings are documents with an amount_micro each; the rate is what an entry gives its producer."""
    revenue = sum(_micro(entry["total_cost_micro"]) for entry in entries)
    earned = sum(_micro(each["amount_micro"]) for each in earnings)
    cap = 0
    for entry in entries:
        rate = sum(int(each["share_bps"]) for each in entry["recipients"] if each["role"] == "producer")
        cap += _micro(entry["total_cost_micro"]) * rate // BPS
    if earned > revenue:
        return "REFERRAL_OVER_REVENUE"
    return "REFERRAL_OVER_SHARE" if earned > cap else ""


def _credit(entries: Sequence[Mapping[str, Any]], notes: Sequence[Mapping[str, Any]]) -> str:
    totals = {str(entry["id"]): _micro(entry["total_cost_micro"]) for entry in entries}
    credited, full = dict.fromkeys(totals, 0), dict.fromkeys(totals, 0)
    for note in notes:
        entry_id, amount = str(note["references_billing_entry"]), _micro(note["amount_micro"])
        if entry_id not in totals:
            return "ENTRY_UNKNOWN"
        credited[entry_id] += amount
        full[entry_id] += note["reason"] == "refund" and amount == totals[entry_id]
    if any(count > 1 for count in full.values()):
        return "FULL_REFUND_TWICE"
    return "CREDIT_OVER_TOTAL" if any(credited[each] > totals[each] for each in totals) else ""


def _escrow(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> str:
    (first,), (second,) = before, after
    same = ("escrow_id", "payer_id", "payee_id", "amount_micro", "held_at")
    if any(first[name] != second[name] for name in same):
        return "ESCROW_OTHER"
    if second["state"] not in _MOVES[first["state"]]:
        return "ESCROW_ILLEGAL_MOVE"
    return "" if _has_fields(first) and _has_fields(second) else "ESCROW_FIELDS"


def _has_fields(entry: Mapping[str, Any]) -> bool:
    held_at = datetime.fromisoformat(entry["held_at"])
    state, released_at, expires_at = entry["state"], entry.get("released_at"), entry.get("expires_at")
    return (
        entry["payer_id"] != entry["payee_id"]
        and (state != "released" or (released_at is not None and datetime.fromisoformat(released_at) >= held_at))
        and not (state == "held" and released_at is not None)
        and (state != "disputed" or bool(entry.get("dispute_id")))
        and (state != "expired" or expires_at is not None)
        and (expires_at is None or datetime.fromisoformat(expires_at) > held_at)
    )
