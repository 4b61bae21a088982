"""The one source of routes, and the two things that are made of it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import docs, openapi
from gateway.limiter import Quota, Standing, fields
from gateway.route import CLOSED, Access, Limited, Raw, Route, Scope
from gateway.routes import PRODUCT, TEST_MODE, routes
from gateway.schemas.wire import Reply, Request

DOCUMENT = openapi.document(routes(test_mode=True))
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)


@pytest.mark.parametrize("route", routes(test_mode=True), ids=lambda route: route.name)
def test_every_route_says_who_may_call_it_and_how_often(route: Route) -> None:
    assert isinstance(route.access, Access | Scope)
    assert isinstance(route.limited, Limited)
    assert route.answers
    assert route.body is None or isinstance(route.body, Raw) or issubclass(route.body, Request)
    assert route.query is None or issubclass(route.query, Request)
    assert all(isinstance(shape, str) or issubclass(shape, Reply) for shape in route.answers.values())


def test_only_probes_documents_pages_and_signed_callbacks_are_public() -> None:
    public = {route.path for route in PRODUCT if route.access is Access.PUBLIC}
    callbacks = {"/webhooks/nowpayments/payouts", "/webhooks/nowpayments/payments"}
    pages = {"/", "/admin", "/assets/{version}/{name}"}
    assert public == {"/healthz", "/readyz", "/openapi.json", "/docs"} | pages | callbacks


def test_creator_routes_need_the_creator_scope() -> None:
    for route in PRODUCT:
        own = route.path.startswith(("/api/creator/", "/api/payouts/", "/api/wallets", "/api/score/rewards"))
        assert not own or route.access == Scope("creator")
        assert not route.path.startswith("/api/admin/") or (
            isinstance(route.access, Scope) and route.access.name.startswith("admin:")
        )


def test_everything_with_an_account_is_limited_and_registrations_are_limited_closed() -> None:
    assert all(route.limited is not Limited.NOT for route in PRODUCT if route.access is not Access.PUBLIC)
    assert [route.name for route in PRODUCT if route.limited is Limited.REGISTER] == ["register"]
    assert {route.name for route in PRODUCT if route.limited is Limited.PAYOUT} == {
        "requestPayout",
        "confirmPayout",
        "cancelPayout",
        "retryPayout",
    }
    assert {Limited.REGISTER, Limited.PAYOUT} == CLOSED


def test_names_and_routes_are_unique() -> None:
    declared = routes(test_mode=True)
    assert len({route.name for route in declared}) == len(declared)
    assert len({(route.method, route.path) for route in declared}) == len(declared)


def test_test_mode_routes_exist_in_test_mode_alone() -> None:
    assert {route.path for route in TEST_MODE} == {"/dev/token", "/dev/clock/advance", "/dev/clock"}
    assert not {route.path for route in routes(test_mode=False)} & {route.path for route in TEST_MODE}


def test_the_document_holds_every_route_and_no_more() -> None:
    assert {(method, path) for method, path, _ in operations()} == {
        (route.method, route.path) for route in routes(test_mode=True)
    }


def test_the_document_is_openapi_3_1_and_json() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert json.loads(openapi.render(DOCUMENT)) == json.loads(json.dumps(DOCUMENT))


@pytest.mark.parametrize(("method", "path", "operation"), list(operations()))
def test_an_operation_is_whole(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"]
    assert operation["summary"]
    assert set(operation["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}
    in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    keys = [(each["in"], each["name"]) for each in operation["parameters"]]
    assert len(keys) == len(set(keys))
    assert any(status.startswith("2") for status in operation["responses"])
    for status, answer in operation["responses"].items():
        assert re.fullmatch(r"[2-5]\d\d", status)
        assert answer["description"]
        assert answer["content"]
        if int(status) >= 400:
            assert "application/problem+json" in answer["content"]
    assert ("requestBody" in operation) <= (method in {"POST", "PUT"})
    for requirement in operation["security"]:
        assert set(requirement) <= set(DOCUMENT["components"]["securitySchemes"])


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    references = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def test_schemas_use_the_words_of_json_schema() -> None:
    for node in nodes(DOCUMENT["components"]["schemas"]):
        kind = node.get("type")
        if isinstance(kind, str) and "properties" not in node.get("type", {}):
            assert kind in TYPES, node
        if isinstance(node.get("pattern"), str):
            re.compile(node["pattern"])
        if isinstance(node.get("required"), list):
            assert set(node["required"]) <= set(node["properties"])


def test_bodies_that_come_in_are_closed_and_answers_are_complete() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for route in routes(test_mode=True):
        if isinstance(route.body, type):
            assert schemas[route.body.__name__]["additionalProperties"] is False
        for shape in route.answers.values():
            if isinstance(shape, type):
                schema = schemas[shape.__name__]
                assert set(schema["required"]) == set(schema["properties"])


def test_amounts_are_strings() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        for name, shape in schema.get("properties", {}).items():
            kinds = {each.get("type") for each in shape.get("anyOf", [shape])} - {"null"}
            assert not name.endswith("_micro") or kinds == {"string"}


def test_a_services_field_is_pointed_at_where_the_client_put_it() -> None:
    by_name = {route.name: route for route in PRODUCT}
    assert by_name["createCode"].pointer("vanity_code") == "#/vanity_code"
    assert by_name["getLeaderboard"].pointer("page_size") == "?limit"
    assert by_name["getLeaderboard"].pointer("page_token") == "?page_token"
    assert by_name["getLeaderboard"].pointer("account_id") == ""


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = docs.render(DOCUMENT).decode()
    assert all(f"{method} {path}" in page for method, path, _ in operations())
    assert not re.search(r"<script|<link|<img|https?://|@import|url\(", page)
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors


def test_limits_are_told_as_structured_fields() -> None:
    standing = [Standing(Quota("a", "account", 10), 3, 20), Standing(Quota("b", "address", 60), 0, 5)]
    assert fields(standing) == {
        "RateLimit-Policy": '"a";q=10;w=60, "b";q=60;w=60',
        "RateLimit": '"a";r=3;t=20, "b";r=0;t=5',
    }
