"""What a charge must be, and when it is the same again."""

from datetime import timedelta
from typing import Any

import pytest

from libs.money import MAX_MICRO, Split
from libs.refusals import Refusal
from services.distribution.model import Answer, Charge, Decision, Part, Posted, ReferrerOutcome
from services.distribution.rules import queries
from services.distribution.rules.charges import check_batch_size, check_charge, fingerprint, replay
from services.distribution.rules.refusals import ChargeMismatch
from tests.support.distribution import NOW, charge

KEY = b"a key"
CHARGE = charge("charge", provider_cost_micro=1)
MODELS = (Part("a", 60_000), Part("b", 40_000))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"inference_charge_id": "x" * 128, "payer_account_id": " spaces are printable ", "community_id": "A-z_0.9"},
        {"revenue_micro": 1, "provider_cost_micro": MAX_MICRO},
        {"revenue_micro": MAX_MICRO, "promotional_micro": MAX_MICRO},
        {"model": "Überraschung", "model_tier": ""},
        {"model": "", "model_breakdown": MODELS},
        {"model_breakdown": (*MODELS, Part("free", 0))},
        {"funding": (Part("p1", 1), Part("p2", 99_999))},
        {"promotional_micro": 40_000, "funding": (Part("p1", 60_000),)},
        {"funding": tuple(Part(f"p{number}", 3_125) for number in range(32))},
        {"finalized_at": NOW + timedelta(minutes=5)},
        {"finalized_at": NOW - timedelta(days=4000)},
    ],
)
def test_a_valid_charge_passes(changed: dict[str, Any]) -> None:
    check_charge(CHARGE._replace(**changed), NOW)


@pytest.mark.parametrize(
    ("changed", "reason", "field"),
    [
        ({"inference_charge_id": ""}, "CHARGE_ID_INVALID", "inference_charge_id"),
        ({"inference_charge_id": "x" * 129}, "CHARGE_ID_INVALID", "inference_charge_id"),
        ({"inference_charge_id": "tab\t"}, "CHARGE_ID_INVALID", "inference_charge_id"),
        ({"inference_charge_id": "ü"}, "CHARGE_ID_INVALID", "inference_charge_id"),
        ({"payer_account_id": ""}, "PAYER_INVALID", "payer_account_id"),
        ({"payer_account_id": "nul\0"}, "PAYER_INVALID", "payer_account_id"),
        ({"community_id": ""}, "COMMUNITY_INVALID", "community_id"),
        ({"community_id": "a:b"}, "COMMUNITY_INVALID", "community_id"),
        ({"community_id": "a\n"}, "COMMUNITY_INVALID", "community_id"),
        ({"community_id": "x" * 65}, "COMMUNITY_INVALID", "community_id"),
        ({"revenue_micro": 0}, "REVENUE_OUT_OF_RANGE", "revenue_micro"),
        ({"revenue_micro": -1}, "REVENUE_OUT_OF_RANGE", "revenue_micro"),
        ({"revenue_micro": MAX_MICRO + 1}, "REVENUE_OUT_OF_RANGE", "revenue_micro"),
        ({"promotional_micro": -1}, "PROMOTIONAL_OUT_OF_RANGE", "promotional_micro"),
        ({"promotional_micro": 100_001}, "PROMOTIONAL_OUT_OF_RANGE", "promotional_micro"),
        ({"provider_cost_micro": -1}, "PROVIDER_COST_OUT_OF_RANGE", "provider_cost_micro"),
        ({"provider_cost_micro": MAX_MICRO + 1}, "PROVIDER_COST_OUT_OF_RANGE", "provider_cost_micro"),
        ({"model": ""}, "MODEL_MISSING", "model"),
        ({"model": "x" * 129}, "MODEL_INVALID", "model"),
        ({"model": "nul\0"}, "MODEL_INVALID", "model"),
        ({"model_tier": "x" * 65}, "MODEL_TIER_INVALID", "model_tier"),
        ({"model_breakdown": (Part("a", 99_999),)}, "BREAKDOWN_UNBALANCED", "model_breakdown"),
        ({"model_breakdown": (Part("", 100_000),)}, "BREAKDOWN_INVALID", "model_breakdown[0].model"),
        (
            {"model_breakdown": (Part("a", 100_001), Part("b", -1))},
            "BREAKDOWN_INVALID",
            "model_breakdown[1].amount_micro",
        ),
        ({"model_breakdown": (Part("a", 0),) * 33}, "BREAKDOWN_TOO_LONG", "model_breakdown"),
        ({"funding": (Part("p", 99_999),)}, "FUNDING_UNBALANCED", "funding"),
        ({"funding": (Part("p", 100_000),), "promotional_micro": 1}, "FUNDING_UNBALANCED", "funding"),
        ({"funding": (Part("", 100_000),)}, "FUNDING_INVALID", "funding[0].payment_id"),
        ({"funding": (Part("p", 50_000), Part("p", 50_000))}, "FUNDING_INVALID", "funding[1].payment_id"),
        ({"funding": (Part("p", 100_000), Part("q", 0))}, "FUNDING_INVALID", "funding[1].amount_micro"),
        ({"funding": (Part("p", 1),) * 33}, "FUNDING_TOO_LONG", "funding"),
        (
            {"finalized_at": NOW + timedelta(minutes=5, microseconds=1)},
            "FINALIZED_IN_FUTURE",
            "finalized_at",
        ),
    ],
)
def test_what_is_wrong_with_a_charge_is_named(changed: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_charge(CHARGE._replace(**changed), NOW)
    assert (refused.value.reason, refused.value.data["field"]) == (reason, field)


@pytest.mark.parametrize("size", [0, 501])
def test_a_batch_has_1_to_500_charges(size: int) -> None:
    check_batch_size(1)
    check_batch_size(500)
    with pytest.raises(Refusal, match="1 to 500"):
        check_batch_size(size)


OTHERS: dict[str, Any] = {
    "inference_charge_id": "charge2",
    "payer_account_id": "payer2",
    "community_id": "artists2",
    "revenue_micro": 100_001,
    "promotional_micro": 1,
    "provider_cost_micro": 2,
    "model": "gpt-4o2",
    "model_tier": "standard2",
    "model_breakdown": MODELS,
    "funding": (Part("p", 100_000),),
    "finalized_at": NOW + timedelta(microseconds=1),
}


@pytest.mark.parametrize("field", Charge._fields)
def test_every_field_is_in_the_fingerprint(field: str) -> None:
    changed = CHARGE._replace(**{field: OTHERS[field]})
    assert fingerprint(changed, KEY) != fingerprint(CHARGE, KEY)


def test_a_fingerprint_tells_parts_apart() -> None:
    shaped: list[dict[str, Any]] = [
        {"model_breakdown": (Part("a", 1),)},
        {"funding": (Part("a", 1),)},
        {"model_breakdown": (Part("a", 1), Part("b", 2))},
        {"model_breakdown": (Part("b", 2), Part("a", 1))},
        {"model_breakdown": (Part("a", 1),), "funding": (Part("b", 2),)},
        {"model": "ab", "model_tier": "c"},
        {"model": "a", "model_tier": "bc"},
        {"provider_cost_micro": 11, "promotional_micro": 1},
        {"provider_cost_micro": 1, "promotional_micro": 11},
    ]
    assert len({fingerprint(CHARGE._replace(**each), KEY) for each in shaped}) == len(shaped)


def test_a_fingerprint_needs_its_key() -> None:
    assert fingerprint(CHARGE, KEY) != fingerprint(CHARGE, b"another")


def test_a_fingerprint_stays_what_it_was() -> None:
    """Fingerprints are stored for ever: were this to change, every replay would be refused as a mismatch."""
    full = CHARGE._replace(model_breakdown=MODELS, funding=(Part("p", 100_000),))
    assert fingerprint(CHARGE, KEY).hex() == "4cdb085df8778a77f6e2b0eb1a77cc4c"
    assert fingerprint(full, KEY).hex() == "50becb00aa73ee18751418441aaa5fe8"


def test_the_same_again_gets_the_first_answer_and_another_is_a_mismatch() -> None:
    posted = Posted("charge", "id", b"same", Decision(1, ReferrerOutcome.ORGANIC, Split(0, 1, 2, 3)))
    assert replay(posted, b"same") == Answer(posted, replayed=True)
    assert isinstance(replay(posted, b"other"), ChargeMismatch)


def test_what_may_be_looked_up() -> None:
    assert queries.check_charge_id("c") == "c"
    assert queries.check_account_id("a") == "a"
    assert queries.check_account_names(["commons"] * 100) == ["commons"] * 100
    assert [queries.check_page(size, "") for size in (0, 1, 1000)] == [200, 1, 1000]


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda: queries.check_charge_id(""), "CHARGE_ID_INVALID"),
        (lambda: queries.check_account_id("x" * 129), "PAYER_INVALID"),
        (lambda: queries.check_account_names(["a"] * 101), "ACCOUNT_NAMES_TOO_MANY"),
        (lambda: queries.check_account_names([""]), "LEDGER_ACCOUNT_INVALID"),
        (lambda: queries.check_page(1001, ""), "LEDGER_PAGE_INVALID"),
        (lambda: queries.check_page(-1, ""), "LEDGER_PAGE_INVALID"),
        (lambda: queries.check_page(1, "\0"), "LEDGER_PAGE_INVALID"),
    ],
)
def test_what_may_not_be_looked_up(ask: Any, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        ask()
    assert refused.value.reason == reason
