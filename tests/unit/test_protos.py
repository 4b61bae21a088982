"""The API as a whole: what buf cannot know about it."""

import importlib
import keyword
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

from protos.events.v1 import events_pb2

ROOT = Path(__file__).parents[2]
FILES: list[FileDescriptor] = [
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts) + "_pb2").DESCRIPTOR
    for path in sorted((ROOT / "protos").rglob("*.proto"))
]
READS = ("Get", "List", "Explain", "LookUp", "Preview", "Simulate", "Verify", "Resolve", "Quote", "Has")
# Calls that the design or billing fixes as they are: an id of the fact itself makes them repeatable.
NATURAL = {
    "inference_charge_id",
    "action_id",
    "order_id",
    "payment_id",
    "payout_id",
    "period",
    "account_ref",
    "account_id",
    "reservation_id",
    "staged_grant_id",
    "erasure_id",
    "raw_body",
    "charges",
    "charge",
    "header",
    "rebuild_id",
    "operator_id",
}


def messages() -> Iterator[Descriptor]:
    """Every message of the API, nested ones too."""
    waiting = [message for file in FILES for message in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_types)


def fields() -> Iterator[FieldDescriptor]:
    """Every field of the API."""
    return (field for message in messages() for field in message.fields)


def methods() -> list[MethodDescriptor]:
    """Every RPC of the API."""
    return [method for file in FILES for service in file.services_by_name.values() for method in service.methods]


def test_a_topic_is_carried_by_one_message_and_its_partitions_are_few() -> None:
    topics = [
        message.GetOptions().Extensions[events_pb2.topic]
        for message in messages()
        if message.GetOptions().HasExtension(events_pb2.topic)
    ]
    names = [topic.name for topic in topics]
    assert len(names) == len(set(names)) >= 13
    assert {topic.partitions for topic in topics if topic.name != "distribution.rules.v1"} == {4}


def test_events_name_accounts_by_surrogate_only() -> None:
    for message in messages():
        if message.GetOptions().HasExtension(events_pb2.topic) and message.name != "BillingCharge":
            assert not [field.name for field in message.fields if field.name.endswith("account_id")], message.full_name


def test_money_is_a_64_bit_integer() -> None:
    for field in fields():
        if field.name.endswith("_micro"):
            assert field.type == FieldDescriptor.TYPE_INT64, field.full_name
        assert field.type not in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}, field.full_name


def test_every_field_can_be_named_in_python() -> None:
    assert not [field.full_name for field in fields() if keyword.iskeyword(field.name)]


def test_every_page_has_a_size_and_says_where_to_go_on() -> None:
    for message in messages():
        if "page_token" in message.fields_by_name:
            answer = message.file.message_types_by_name[message.name.removesuffix("Request") + "Response"]
            assert "page_size" in message.fields_by_name, message.full_name
            assert "next_page_token" in answer.fields_by_name, message.full_name


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.full_name)
def test_a_call_that_changes_something_can_be_repeated(method: MethodDescriptor) -> None:
    if method.name.startswith(READS):
        return
    names = set(method.input_type.fields_by_name)
    assert "request_id" in names or names & NATURAL


def test_what_an_operator_does_has_a_reason() -> None:
    for message in messages():
        if "operator_id" in message.fields_by_name and message.name.endswith("Request"):
            has_words = {"reason", "text"} & set(message.fields_by_name)
            assert has_words or message.name.startswith("List"), message.full_name
