"""The whole stack from outside: REST by its own document, gRPC by its descriptors, and operators at work.

Whatever fits is answered as promised, whatever does not is refused with a reason, and nobody's balance changes who was
not named. One module, so that one stack serves it all.
"""

import itertools
import os
from collections.abc import Iterator
from typing import Any, Final

import grpc
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from gateway import openapi
from gateway.route import Scope
from gateway.routes import PRODUCT
from gateway.tokens import Minter, Policy
from libs.clock import SystemClock
from tests.support.doors import Books, Doors
from tests.support.fuzzing import SERVICES, Target, messages, nearly, targets
from tests.support.stacks import Stack

NIGHTLY: Final = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CALLS_PER_ACCOUNT: Final = 250
SCOPES: Final = sorted({route.access.name for route in PRODUCT if isinstance(route.access, Scope)})
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
    return settings(max_examples=examples, deadline=None, database=None, phases=phases, suppress_health_check=patient)


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

    check()


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
