import json
import subprocess
import sys
import urllib.request

import pytest

from libs import telemetry
from libs.settings import Secret
from libs.telemetry.context import valid_traceparent
from libs.telemetry.logs import redact

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PROGRAM = """
import logging
from libs import telemetry
from libs.settings import Secret

telemetry.configure_logs("sample", "INFO")
log = telemetry.logger("here")
telemetry.request_id.set("mine")
with telemetry.continued("{parent}"):
    log.info("paid", wallet="0xabc", amount_micro=10**15, key=Secret("hush"), parts=dict(api_key="hush", ok=[1]))
    logging.getLogger("library").warning("said %s", "this")
    log.debug("unheard")
    try:
        raise ValueError("duplicate key\\nDETAIL:  Key (account_id)=(hush) already exists.")
    except ValueError:
        log.exception("failed")
"""


def logged() -> list[dict[str, object]]:
    program = PROGRAM.replace("{parent}", PARENT)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert "hush" not in ended.stdout
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_logs_are_json_lines_that_say_where_they_belong_and_keep_secrets() -> None:
    paid, library, failed = logged()
    where = {"service": "sample", "request_id": "mine", "trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert where.items() <= paid.items()
    assert where.items() <= library.items()
    assert (paid["event"], paid["level"], paid["module"], paid["amount_micro"]) == ("paid", "info", "here", 10**15)
    assert (paid["wallet"], paid["key"], paid["parts"]) == ("…", "…", {"api_key": "…", "ok": [1]})
    assert (library["event"], library["level"], library["module"]) == ("said this", "warning", "library")
    assert str(paid["time"]).endswith("Z")
    assert "ValueError: duplicate key" in str(failed["exception"])


@pytest.mark.parametrize(
    "key",
    ["token", "jwt_secret", "Authorization", "ipn_signature", "destination_address", "wallet", "POSTGRES_DSN", "nonce"],
)
def test_a_key_that_names_a_secret_or_an_address_is_hidden_at_any_depth(key: str) -> None:
    assert redact(None, "", {"event": "x", "deep": [{"deeper": {key: "hush"}}]})["deep"] == [{"deeper": {key: "…"}}]


def test_a_secret_is_hidden_whatever_it_is_called() -> None:
    assert redact(None, "", {"event": "x", "fine": Secret("hush")})["fine"] == "…"


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (PARENT, True),
        ("", False),
        (PARENT.upper(), False),
        (PARENT + "-more", False),
        (PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), False),
        (PARENT.replace("b7ad6b7169203331", "0" * 16), False),
        ("01" + PARENT[2:], False),
    ],
)
def test_only_a_well_formed_traceparent_is_passed_on(value: str, valid: bool) -> None:  # noqa: FBT001
    assert valid_traceparent(value) is valid
    with telemetry.continued(value):
        assert telemetry.current_traceparent() == (value if valid else "")


def test_a_span_keeps_the_trace_in_hand_or_starts_one() -> None:
    with telemetry.continued(PARENT), telemetry.span("inner"):
        assert telemetry.current_traceparent() == PARENT
    with telemetry.span("alone"):
        assert valid_traceparent(telemetry.current_traceparent())
    with telemetry.span("named", PARENT):
        assert telemetry.current_traceparent() == PARENT
    assert telemetry.current_traceparent() == ""


def test_metrics_have_a_port_of_their_own_that_is_freed() -> None:
    server = telemetry.serve_metrics("127.0.0.1:0")
    port = server.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"creator_rpc_seconds" in answer.read()
    with pytest.raises(OSError, match="in use"):
        telemetry.serve_metrics(f"127.0.0.1:{port}")
    server.close()
    telemetry.serve_metrics(f"127.0.0.1:{port}").close()
