"""The operators' routes are made from the protocol: what that makes of it."""

import re
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import msgspec
import pytest

from gateway.derived import shapes
from gateway.derived.packing import packed, unpacked
from gateway.derived.words import said
from gateway.problems import BodyInvalid, PathInvalid, QueryInvalid
from gateway.reading import read_body, read_path, read_query
from gateway.route import Route, Scope
from gateway.routes import PRODUCT
from gateway.routes.operators import ROUTES
from libs.timestamps import to_timestamp
from protos.distribution.v1 import campaigns_pb2, rules_pb2, treasury_pb2
from protos.payout.v1 import admin_pb2 as payout_pb2
from protos.payout.v1 import events_pb2
from protos.referral.v1 import admin_pb2 as referral_pb2
from protos.score.v1 import admin_pb2 as score_pb2

BY_NAME: dict[str, Any] = {route.name: route for route in ROUTES}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOORS = {
    "referral_admin": "services.referral.servicer.admin",
    "ledger": "services.distribution.servicer.ledger",
    "rules": "services.distribution.servicer.rules",
    "campaigns": "services.distribution.servicer.campaigns",
    "treasury": "services.distribution.servicer.treasury",
    "payments": "services.distribution.servicer.payments",
    "documents": "services.distribution.servicer.documents",
    "audit": "services.distribution.servicer.audit",
    "payout_admin": "services.payout.servicer.admin",
    "leaderboard": "services.leaderboard.servicer",
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_an_act_needs_a_write_scope_a_key_and_a_reason_and_takes_nobodys_word_for_who_acts(route: Route) -> None:
    assert isinstance(route.access, Scope)
    area, right = route.access.name.removeprefix("admin:").split(":")
    assert re.fullmatch(r"[a-z]+", area)
    assert right in {"read", "write"}
    assert route.idempotent == (right == "write")
    assert right == "read" or route.method in {"POST", "PUT"}
    for shape in (route.body, route.query if route.method != "GET" else None):
        if isinstance(shape, type):
            assert not {"operator_id", "request_id"} & set(shape.__struct_fields__)
            assert right == "read" or {"reason", "text"} & set(shape.__struct_fields__)


def test_no_path_hides_another() -> None:
    routes = {route.path: route for route in PRODUCT}
    for path, route in routes.items():
        pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
        for other in routes:
            alike = pattern.fullmatch(re.sub(r"[{}]", "", other))
            if alike and other != path:
                assert route.path_fields is not None
                # A word beside a name in the path is none that the name could be.
                with pytest.raises(PathInvalid):
                    read_path(alike.groupdict(), route.path_fields)


def test_accounts_are_never_named_in_a_path() -> None:
    assert not [route.path for route in PRODUCT if "account" in "".join(re.findall(r"{\w+}", route.path))]


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if hasattr(each.handler, "args")], ids=lambda each: each.name
)
def test_the_service_lets_the_gateway_in(route: Any) -> None:
    stub, call, _ = route.handler.args
    if stub == "score_admin":
        callers: Any = import_module("services.score.servicer").ADMIN_CALLERS
    else:
        callers = import_module(DOORS[stub]).CALLERS
    assert "gateway" in (callers[call.name] if isinstance(callers, dict) else callers)


def test_a_request_becomes_a_message_and_its_amounts_words_and_times_are_kept() -> None:
    asked = read_body(
        b'{"name": "n", "type": "referral", "account_cap_micro": "12", "reason": "r"}', BY_NAME["createCampaign"].body
    )
    assert packed(campaigns_pb2.CreateCampaignRequest.DESCRIPTOR, asked) == campaigns_pb2.CreateCampaignRequest(
        name="n", type=campaigns_pb2.CAMPAIGN_TYPE_REFERRAL, account_cap_micro=12, reason="r"
    )
    exempt = read_body(
        b'{"account_id": "a b", "until": "2026-11-21T13:00:00+01:00", "reason": "r"}', BY_NAME["exemptAccount"].body
    )
    assert packed(referral_pb2.ExemptAccountRequest.DESCRIPTOR, exempt) == referral_pb2.ExemptAccountRequest(
        account_id="a b", until=to_timestamp(NOON), reason="r"
    )
    rates = b'{"referrer_bps": 1, "commons_bps": 2, "community_bps": 3, "foundation_bps": 9994}'
    proposed = read_body(b'{"rates": %s, "reason": "r"}' % rates, BY_NAME["proposeRule"].body)
    assert packed(rules_pb2.ProposeRuleRequest.DESCRIPTOR, proposed) == rules_pb2.ProposeRuleRequest(
        rates=rules_pb2.RuleRates(referrer_bps=1, commons_bps=2, community_bps=3, foundation_bps=9994), reason="r"
    )


def test_of_alternatives_one_is_given_and_the_other_is_pointed_at_where_it_stood() -> None:
    both = read_query([("account_id", "a"), ("account_ref", "")], BY_NAME["lookUpAccount"].query)
    with pytest.raises(QueryInvalid) as refused:
        packed(referral_pb2.LookUpAccountRequest.DESCRIPTOR, both)
    assert [each.pointer for each in refused.value.errors] == ["?account_ref"]


def test_a_query_becomes_a_message() -> None:
    pairs = [("stages", "queued"), ("stages", "stalled"), ("overdue_only", "true"), ("page_size", "7")]
    asked = read_query(pairs, BY_NAME["listPayoutRecords"].query)
    assert packed(payout_pb2.ListPayoutRecordsRequest.DESCRIPTOR, asked) == payout_pb2.ListPayoutRecordsRequest(
        stages=[events_pb2.PAYOUT_STAGE_QUEUED, events_pb2.PAYOUT_STAGE_STALLED],
        overdue_only=True,
        page_size=7,
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [("overdue_only", "1")],
        [("overdue_only", "True")],
        [("overdue_only", "true"), ("overdue_only", "true")],
        [("stages", "unspecified")],
        [("stages", "QUEUED")],
        [("page_size", "1e1")],
        [("page_size", "0")],
        [("operator", "me")],
    ],
)
def test_a_query_is_not_guessed_at(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(QueryInvalid):
        read_query(pairs, BY_NAME["listPayoutRecords"].query)


@pytest.mark.parametrize("version", ["0", "-1", "1.0", "1e1", "2147483648", "one", "٣", " 1"])
def test_a_name_in_a_path_is_not_guessed_at(version: str) -> None:
    assert read_path({"rule_version": "2"}, BY_NAME["getRule"].path_fields).rule_version == 2
    with pytest.raises(PathInvalid):
        read_path({"rule_version": version}, BY_NAME["getRule"].path_fields)


@pytest.mark.parametrize(
    "amount", ['"-1"', '"1.0"', '"01"', '"1e3"', '" 1"', '"1\\n"', '""', "1", "null", '"٣"', '"1' + "0" * 16 + '"']
)
def test_an_amount_has_one_spelling(amount: str) -> None:
    with pytest.raises(BodyInvalid):
        read_body(f'{{"amount_micro": {amount}, "reason": "r"}}'.encode(), BY_NAME["fundCampaign"].body)


def test_an_answer_has_all_its_members() -> None:
    change = treasury_pb2.ReserveChange(
        reserve_change_id="id", direction=treasury_pb2.RESERVE_DIRECTION_TOP_UP, amount_micro=2**62
    )
    told = msgspec.json.decode(msgspec.json.encode(unpacked(change)))
    assert set(told) == {each.name for each in change.DESCRIPTOR.fields}
    assert told["amount_micro"] == str(2**62)
    assert told["direction"] == "top_up"
    assert told["state"] is None
    assert told["requested_at"] is None
    run = unpacked(score_pb2.Run(root_hash=b"\x01\xff", frozen_at=to_timestamp(NOON)))
    told = msgspec.json.decode(msgspec.json.encode(run))
    assert (told["root_hash"], told["frozen_at"]) == ("01ff", "2026-11-21T12:00:00Z")
    page = unpacked(treasury_pb2.ListReserveChangesResponse(reserve_changes=[change]))
    assert msgspec.json.decode(msgspec.json.encode(page))["next_page_token"] is None


def test_an_answer_that_is_one_thing_is_told_as_that_thing() -> None:
    names = {route.name: next(iter(route.answers.values())) for route in ROUTES}
    assert names["getRule"] is shapes.reply(rules_pb2.RevenueRule.DESCRIPTOR)
    assert names["listRules"] is shapes.reply(rules_pb2.ListRulesResponse.DESCRIPTOR)
    assert names["getBillingEntry"] == "application/json"


def test_the_protocols_words_are_told() -> None:
    rules = rules_pb2.DESCRIPTOR.services_by_name["RulesService"]
    assert said(rules.methods_by_name["ProposeRule"]) == "Writes a draft."
    assert said(rules_pb2.ProposeRuleRequest.DESCRIPTOR.fields_by_name["reason"]) == "Why, 1 to 1000 characters."
    assert said(rules_pb2.RevenueRule.DESCRIPTOR) == "A revenue rule."
    for route in ROUTES:
        for shape in (route.body, route.query, route.path_fields):
            if isinstance(shape, type):
                described = msgspec.json.schema(shape)["$defs"][shape.__name__]["properties"].values()
                assert all(each["description"] for each in described), route.name
