"""Every document satisfies every rule of the wire types, whatever the ledger says."""

import json
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.money import MAX_MICRO, Rates, split
from services.distribution.model import ReferrerOutcome
from services.distribution.model.documents import Billed, Credited, Escrowed, Happened, PaidOut
from services.distribution.rules import documents, flows
from tests.support.distribution import NOW

REF, ID = "0190f1e2-0000-7000-8000-000000000001", "0190f1e2-0000-7000-8000-000000000002"
ROLES = {"provider", "platform", "producer", "agent_tba", "agent_performer", "commons"}
TOP = {
    "id", "trace_id", "tenant_id", "cost_type", "provider", "currency", "precision", "raw_cost_micro",
    "multiplier_bps", "total_cost_micro", "rounding_policy", "recipients", "idempotency_key", "timestamp",
    "contract_version",
}  # fmt: skip
UNSIGNED, SIGNED = re.compile(r"[0-9]+"), re.compile(r"-?[0-9]+")
amounts = st.one_of(st.integers(0, 200), st.integers(0, 10**7), st.integers(0, MAX_MICRO))


@st.composite
def billed(draw: st.DrawFn) -> Billed:
    commons = draw(st.integers(0, 10_000))
    community = draw(st.integers(0, 10_000 - commons))
    rates = Rates(draw(st.integers(0, 5000)), commons, community, 10_000 - commons - community)
    referred = draw(st.booleans())
    outcome = ReferrerOutcome.ATTRIBUTED if referred else ReferrerOutcome.ORGANIC
    shares = split(draw(amounts), rates, referred=referred)
    return Billed(
        ID, "c", REF if referred else None, "artists", draw(amounts), "gpt-4o", "t", NOW, outcome, shares, rates
    )


def check_recipients(document: dict[str, Any], total: int, amount: re.Pattern[str]) -> None:
    recipients = document["recipients"]
    assert len(recipients) >= 1
    assert all(set(each) == {"address", "role", "share_bps", "amount_micro"} for each in recipients)
    assert all(each["role"] in ROLES and 0 <= each["share_bps"] <= 10_000 for each in recipients)
    assert sum(each["share_bps"] for each in recipients) == 10_000
    assert all(amount.fullmatch(each["amount_micro"]) for each in recipients)
    assert sum(int(each["amount_micro"]) for each in recipients) == total


@given(billed())
def test_a_billing_entry_adds_up(one: Billed) -> None:
    entry = documents.billing_entry(one)
    assert set(entry) >= TOP
    assert set(entry) <= TOP | {"model", "metadata"}
    total = int(entry["total_cost_micro"])
    assert total == sum((one.split.referrer_micro, one.split.commons_micro, one.split.community_micro)) + (
        one.split.foundation_micro
    )
    assert 10_000 <= entry["multiplier_bps"] <= 100_000
    assert total == int(entry["raw_cost_micro"]) * entry["multiplier_bps"] // 10_000
    assert (entry["currency"], entry["precision"], entry["contract_version"]) == ("USD", 6, "8.7.0")
    check_recipients(entry, total, UNSIGNED)
    assert set(entry["metadata"]["x-roles"]) == {each["address"] for each in entry["recipients"]}
    assert datetime.fromisoformat(entry["timestamp"]) == NOW
    earned = {"amount_micro": str(one.split.referrer_micro)}
    assert flows.verify(1, [entry], [earned]) == ""
    assert json.loads(json.dumps(entry)) == entry


def test_the_first_rule_gives_the_shares_of_the_whole() -> None:
    rates = Rates(1000, 500, 7000, 2500)
    one = Billed(
        ID, "c", REF, "a", 0, "", "", NOW, ReferrerOutcome.ATTRIBUTED, split(100_000, rates, referred=True), rates
    )
    shares = {each["role"]: each["share_bps"] for each in documents.billing_entry(one)["recipients"]}
    assert shares == {"producer": 1000, "commons": 450, "agent_performer": 6300, "platform": 2250}


@given(st.lists(amounts, min_size=4, max_size=4), st.integers(-3, MAX_MICRO))
def test_a_refund_note_adds_up(parts: list[int], foundation: int) -> None:
    if sum(parts) + foundation <= 0:
        return
    note = documents.refund_note(
        Credited(ID, ID, REF, "artists", parts[0], parts[1], parts[2], parts[3], foundation, NOW)
    )
    assert set(note) == {
        "id", "references_billing_entry", "reason", "amount_micro", "recipients", "issued_at", "contract_version"
    }  # fmt: skip
    assert note["reason"] == "refund"
    assert int(note["amount_micro"]) == sum(parts) + foundation != 0
    check_recipients(note, sum(parts) + foundation, SIGNED)


@given(st.integers(1, MAX_MICRO))
def test_a_payout_note_adds_up(amount: int) -> None:
    note = documents.payout_note(PaidOut(ID, ID, REF, amount, NOW))
    assert (note["reason"], int(note["amount_micro"])) == ("adjustment", -amount)
    check_recipients(note, -amount, SIGNED)


@given(st.integers(1, MAX_MICRO), st.integers(1, 5), st.timedeltas(timedelta(0), timedelta(days=99)))
def test_an_escrow_entry_has_the_fields_of_its_state(amount: int, state: int, took: timedelta) -> None:
    escrow_id = "0190f1e2-0000-4000-a000-000000000001"
    entry = documents.escrow_entry(Escrowed(escrow_id, REF, amount, state, NOW, NOW + took))
    assert set(entry) <= {
        "escrow_id", "payer_id", "payee_id", "amount_micro", "state", "held_at", "contract_version", "released_at",
        "expires_at", "dispute_id",
    }  # fmt: skip
    assert flows._has_fields(entry)
    assert entry["payer_id"] != entry["payee_id"]
    assert entry["state"] == {1: "held", 2: "refunded", 3: "held", 4: "released", 5: "refunded"}[state]
    held = documents.escrow_entry(Escrowed(escrow_id, REF, amount, 1, NOW, NOW))
    assert datetime.fromisoformat(held["expires_at"]) - NOW == timedelta(hours=72)
    if entry["state"] == "released":
        assert flows.verify(3, [held], [entry]) == ""
    elif entry["state"] == "refunded":
        disputed = held | {"state": "disputed", "dispute_id": entry["dispute_id"]}
        assert flows.verify(3, [held], [disputed]) == flows.verify(3, [disputed], [entry]) == ""
        assert flows.verify(3, [held], [entry]) == "ESCROW_ILLEGAL_MOVE"


@pytest.mark.parametrize("kind", range(1, 17))
def test_an_event_is_of_a_type(kind: int) -> None:
    event = documents.domain_event(Happened(ID, kind, "cause", 1, NOW))
    assert re.fullmatch(r"[a-z]+\.[a-z_]+\.[a-z_]+", event["type"])
    assert event["aggregate_type"] in {"billing", "economy"}
    assert event["version"] >= 1
    assert str(UUID(event["event_id"])) == ID


def entry(total: str = "100", identity: str = "e") -> dict[str, Any]:
    return {"id": identity, "total_cost_micro": total, "recipients": [{"role": "producer", "share_bps": 1000}]}


def note(amount: str, identity: str = "e") -> dict[str, Any]:
    return {"references_billing_entry": identity, "reason": "refund", "amount_micro": amount}


@pytest.mark.parametrize(
    ("flow", "source", "target", "reason"),
    [
        (1, [entry("99")], [{"amount_micro": "9"}], ""),
        (1, [entry("99")], [{"amount_micro": "10"}], "REFERRAL_OVER_SHARE"),
        (1, [entry("99")], [{"amount_micro": "100"}], "REFERRAL_OVER_REVENUE"),
        (1, [entry("1e3")], [{"amount_micro": "1"}], "DOCUMENT_MALFORMED"),
        (1, [{}], [{}], "DOCUMENT_MALFORMED"),
        (2, [entry()], [note("60"), note("40")], ""),
        (2, [entry()], [note("60"), note("41")], "CREDIT_OVER_TOTAL"),
        (2, [entry()], [note("100"), note("100")], "FULL_REFUND_TWICE"),
        (2, [entry()], [note("1", "other")], "ENTRY_UNKNOWN"),
        (3, [{}], [{}, {}], "DOCUMENT_MALFORMED"),
    ],
)
def test_a_flow_holds_or_says_why_not(flow: int, source: list[Any], target: list[Any], reason: str) -> None:
    assert flows.verify(flow, source, target) == reason
    assert flows.MESSAGES[reason]
