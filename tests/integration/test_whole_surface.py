"""The whole stack from outside: REST by its own document, gRPC by its descriptors, and operators at work.

Whatever fits is answered as promised, whatever does not is refused with a reason, and nobody's balance changes who was
not named. One module, so that one stack serves it all.
"""

import hashlib
import itertools
import os
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import grpc
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from deploy.local.demo.economy import DATA
from gateway import openapi
from gateway.openapi import statuses
from gateway.route import Scope
from gateway.routes import PRODUCT
from gateway.tokens import Minter, Policy
from libs.clock import SystemClock
from tests.support.doors import Books, Doors
from tests.support.fuzzing import SERVICES, Target, messages, nearly, targets
from tests.support.operators import Operator
from tests.support.stacks import Stack

NIGHTLY: Final = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CALLS_PER_ACCOUNT: Final = 250
SCOPES: Final = sorted({route.access.name for route in PRODUCT if isinstance(route.access, Scope)})
ROUTES: Final = {route.name: route for route in PRODUCT}
TARGETS: Final = list(targets())

CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # A refusal for what a thing is, not for how it is written, is an answer that the document announces.
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "400", "401", "403", "404", "409", "413", "422", "429", "501", "503"]
            },
            # A call of the protocol that a service does not answer yet is a 501.
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "501"]},
        },
        # The token is ours; that a route wants it is tried by a check of its own.
        "generation": {"with-security-parameters": False},
    }
)
SCHEMA: Any = schemathesis.openapi.from_dict(openapi.document(PRODUCT), config=CONFIG)
OPERATIONS: Final = [each.ok() for each in SCHEMA.get_all_operations()]
TAGS: Final = sorted({operation.definition.raw["tags"][0] for operation in OPERATIONS})


def bounded(here: int, nightly: int) -> settings:
    """So many examples; here without the time that shrinking takes."""
    phases = tuple(Phase) if NIGHTLY else (Phase.explicit, Phase.generate)
    examples = nightly if NIGHTLY else here
    patient = list(HealthCheck)
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not NIGHTLY,
        phases=phases,
        suppress_health_check=patient,
    )


class Callers:
    """Tokens with every scope, of another account before one has called too often."""

    def __init__(self, secret: str) -> None:
        self._minter = Minter(Policy("test-mode", "creator-economy"), secret, now=SystemClock().now)
        self._calls = itertools.count()

    def headers(self) -> dict[str, str]:
        account = f"fuzz-{next(self._calls) // CALLS_PER_ACCOUNT}"
        token = self._minter.mint(account, " ".join(SCOPES), SystemClock().now())
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def doors(stack: Stack) -> Iterator[Doors]:
    options = [("grpc.enable_http_proxy", 0)]
    channels = {name: grpc.insecure_channel(str(stack.line[name]), options=options) for name in SERVICES}
    yield Doors(channels)
    for channel in channels.values():
        channel.close()


@pytest.fixture(scope="module")
def bystander(doors: Doors) -> Books:
    books = Books(doors)
    books.earn()
    return books


@pytest.fixture
def books(bystander: Books) -> Iterator[Books]:
    """What must be as it was when the test is over."""
    before = bystander.earned()
    assert before.accrued_micro > 0
    yield bystander
    assert bystander.earned() == before
    assert bystander.wrong() == []


@pytest.fixture(scope="module")
def callers(stack: Stack) -> Callers:
    return Callers(stack.secrets["jwt_secret"])


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.usefixtures("books")
def test_the_api_is_what_its_document_says(stack: Stack, callers: Callers, tag: str) -> None:
    url = str(stack.line["gateway"])
    for operation in OPERATIONS:
        if operation.definition.raw["tags"][0] != tag:
            continue
        call(operation.as_strategy(GenerationMode.POSITIVE), url, callers, bounded(1, 200))
        if can_be_wrong(operation):
            call(operation.as_strategy(GenerationMode.NEGATIVE), url, callers, bounded(1, 100))


def can_be_wrong(operation: Any) -> bool:
    """Whether something in it has a form; bytes have none."""
    media_types = {body.media_type for body in operation.body}
    return bool(operation.path_parameters or operation.query or "application/json" in media_types)


def call(cases: st.SearchStrategy[Any], url: str, callers: Callers, tries: settings) -> None:
    @tries
    @given(case=cases)
    def check(case: Any) -> None:
        headers = callers.headers()
        answer = case.call(base_url=url, headers=headers)
        assert "Traceback" not in answer.text
        case.validate_response(answer, headers=headers)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            documented = statuses(ROUTES[case.operation.definition.raw["operationId"]])
            assert answer.json()["code"] in documented[HTTPStatus(answer.status_code)]

    check()


FORGED: Final = (
    "0", "-1", "1e9", "9" * 40, "\0", "' OR 1=1 --", "x" * 4000, "AAAA", "\u20ac",
)  # fmt: skip
PAGED: Final = [
    each for each in OPERATIONS if "page_token" in {wanted.name for wanted in each.query} and not each.path_parameters
]


@pytest.mark.usefixtures("books")
def test_a_forged_page_token_is_refused_or_leads_nowhere(stack: Stack, callers: Callers) -> None:
    assert len(PAGED) > 10
    for operation in PAGED:
        url = f"{stack.line['gateway']}{operation.path}"
        for token in FORGED:
            answer = requests.get(url, params={"page_token": token}, headers=callers.headers(), timeout=20)
            assert answer.status_code in {HTTPStatus.OK, HTTPStatus.BAD_REQUEST}, (operation.path, token, answer.text)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("books")
def test_any_message_is_answered_or_refused_with_a_reason(doors: Doors, service: str) -> None:
    for target in TARGETS:
        if target.service == service:
            knock(doors, target)


def knock(doors: Doors, target: Target) -> None:
    kind = target.method.input_type
    longest = 4 if target.method.client_streaming else 1

    @bounded(3, 300)
    @given(st.lists(nearly(kind) | messages(kind), min_size=1, max_size=longest))
    def any_message(sent: list[Any]) -> None:
        doors.knock(target, [each.SerializeToString() for each in sent])

    @bounded(1, 50)
    @given(st.binary(min_size=1, max_size=60))
    def any_bytes(sent: bytes) -> None:
        doors.knock(target, [sent])

    any_message()
    any_bytes()


FOUND: Final = [
    ("ListPlatformBalances", {"name_prefix": "\x00"}),
    ("RecordPayment", {"payment_id": "p", "state": 1, "source": 2**31 - 1}),
    ("ListCallbacks", {"kind": 2**31 - 1}),
    ("ListCallbacks", {"state": 2**31 - 1}),
    ("RunReconciliation", {"request_id": "r", "operator_id": "o", "reason": "\x00"}),
]
"""What broke something once."""


@pytest.mark.parametrize(("method", "fields"), FOUND)
def test_what_broke_something_once_is_refused(doors: Doors, method: str, fields: dict[str, Any]) -> None:
    target = next(each for each in TARGETS if each.method.name == method)
    doors.knock(target, [target.message(**fields).SerializeToString()])


ASKED: Final = [
    ("lookUpAccount", {"account_id": "0", "account_ref": ""}, "QUERY_INVALID"),
    ("getBillingEntry", {"billing_entry_id": "", "inference_charge_id": ""}, "QUERY_INVALID"),
    ("getBillingEntry", {"inference_charge_id": ""}, "CHARGE_ID_INVALID"),
    ("listReviewCases", {"referrer_ref": "0"}, "ACCOUNT_REF_INVALID"),
]
"""What was once refused with a code that the document does not have."""


@pytest.mark.parametrize(("name", "query", "code"), ASKED)
def test_a_refusal_is_one_of_the_document_s(
    stack: Stack, callers: Callers, name: str, query: dict[str, str], code: str
) -> None:
    url = f"{stack.line['gateway']}{ROUTES[name].path}"
    answer = requests.get(url, params=query, headers=callers.headers(), timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.BAD_REQUEST, code)
    assert code in statuses(ROUTES[name])[HTTPStatus.BAD_REQUEST]


def everybody(stack: Stack) -> tuple[Operator, Operator]:
    return Operator(stack, "Ann"), Operator(stack, "Ben")


def test_two_operators_move_the_reserve_and_one_does_not(stack: Stack) -> None:
    ann, ben = everybody(stack)
    before = int(ann.see("/treasury")["reserve_micro"])
    wish = {"direction": "top_up", "amount_micro": "5000000"}
    change = ann.do("/reserve-changes", key="wish", **wish)
    assert ann.do("/reserve-changes", key="wish", **wish) == change
    assert (change["requested_by"], change["state"], change["decided_at"]) == ("Ann", "requested", None)
    assert ann.refused("/reserve-changes", key="wish", direction="top_up", amount_micro="1") == (
        422,
        "REQUEST_ID_REUSED",
    )
    assert ben.do("/reserve-changes", key="wish", **wish)["reserve_change_id"] != change["reserve_change_id"]
    approve = f"/reserve-changes/{change['reserve_change_id']}/approve"
    assert ann.refused(approve) == (403, "RESERVE_CHANGE_NEEDS_SECOND")
    assert int(ann.see("/treasury")["reserve_micro"]) == before
    moved = ben.do(approve, key="yes")
    assert ben.do(approve, key="yes") == moved
    assert moved["decided_by"] == "Ben"
    assert int(ann.see("/treasury")["reserve_micro"]) == before + 5_000_000
    entries = ann.see(f"/ledger/transfers/{moved['transfer_id']}")["entries"]
    assert sorted(int(entry["amount_micro"]) for entry in entries) == [-5_000_000, 5_000_000]
    assert {entry["kind"] for entry in entries} == {"reserve_top_up"}
    assert ann.see("/ledger/trial-balance")["total_micro"] == "0"


def test_a_rule_is_proposed_by_one_and_approved_by_another(stack: Stack) -> None:
    ann, ben = everybody(stack)
    rates = {"referrer_bps": 1000, "commons_bps": 500, "community_bps": 8500, "foundation_bps": 1000}
    rule = ann.do("/rules", rates=rates)
    version = rule["rule_version"]
    assert (rule["state"], rule["proposed_by"], rule["rates"]) == ("draft", "Ann", rates)
    ann.do(f"/rules/{version}/submit")
    assert ann.refused(f"/rules/{version}/approve") == (403, "RULE_NEEDS_SECOND")
    assert ben.do(f"/rules/{version}/approve")["state"] == "cooling_down"
    told = [(row["to_state"], row["operator_id"]) for row in ann.see("/rule-audit", rule_version=version)["rows"]]
    assert told == [("cooling_down", "Ben"), ("pending_approval", "Ann"), ("draft", "Ann")]
    assert version in {each["rule_version"] for each in ann.see("/rules", states=["cooling_down", "active"])["rules"]}
    assert ben.do(f"/rules/{version}/reject")["state"] == "rejected"
    assert ann.get(f"/rules/{2**31 - 1}").json()["code"] == "RULE_UNKNOWN"


def test_who_acts_is_said_by_the_token_alone(stack: Stack) -> None:
    ann, _ = everybody(stack)
    answer = ann.post("/treasury/pause-payouts", operator_id="Ben")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/operator_id")
    assert ann.refused("/treasury/pause-payouts", key="") == (400, "IDEMPOTENCY_KEY_MISSING")
    assert ann.refused("/treasury/pause-payouts", reason="") == (400, "REASON_INVALID")
    reader = Operator(stack, "Cid", "admin:treasury:read admin:ledger:write creator")
    reader.see("/treasury")
    assert reader.refused("/treasury/pause-payouts") == (403, "SCOPE_MISSING")
    assert reader.get("/ledger/trial-balance").status_code == 403
    assert ann.see("/treasury")["payouts"]["paused"] is False


def test_a_file_of_scores_comes_in_piece_by_piece(stack: Stack) -> None:
    ann, _ = everybody(stack)
    file = (DATA / "nft_holders_building_mainnet.csv").read_bytes()
    about = {
        "period": "2025-01",
        "format": "csv",
        "taken_at": "2025-02-01T00:00:00Z",
        "source": "a test",
        "reason": "why",
    }
    about["sha256"] = hashlib.sha256(file).hexdigest()
    taken = ann.upload("/score/imports", file, key="file", **about)
    assert taken.status_code == 200, taken.text
    brought = taken.json()["score_import"]
    assert (brought["operator_id"], brought["wallets"], brought["sha256"]) == ("Ann", 291, about["sha256"])
    again = ann.upload("/score/imports", file, key="file", **about).json()
    assert (again["replayed"], again["score_import"]["import_id"]) == (True, brought["import_id"])
    other = ann.upload("/score/imports", file + b"\n", **about | {"period": "2025-02"})
    assert other.json()["score_import"]["state"] == "refused"
    unsaid = ann.upload("/score/imports", file, **about | {"taken_at": "yesterday"})
    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (400, "?taken_at")
