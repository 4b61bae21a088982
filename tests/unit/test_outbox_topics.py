import importlib

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from libs.outbox import Topic, partition_of, topic_of, topics_of
from protos.distribution.v1.events_pb2 import ChargeFinalized, ChargesFinalized
from protos.events.v1 import events_pb2
from protos.referral.v1.events_pb2 import Registration

SERVICES = ("referral", "distribution", "payout", "score", "leaderboard")


def test_a_message_names_its_topic() -> None:
    assert topic_of(Registration) == Topic("referral.registrations.v1", 4)
    assert topic_of(ChargesFinalized) == Topic("distribution.finalized.v1", 4, joined=True)


def test_a_message_without_a_topic_is_no_event() -> None:
    with pytest.raises(TypeError, match=r"creator\.distribution\.v1\.ChargeFinalized names no topic"):
        topic_of(ChargeFinalized)


def test_a_message_with_a_field_that_is_not_repeated_cannot_be_joined() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="torn.proto", package="torn", dependency=["protos/events/v1/events.proto"]
    )
    message = file.message_type.add(name="Torn")
    message.field.add(name="parts", number=1, label="LABEL_REPEATED", type="TYPE_STRING")
    message.field.add(name="total", number=2, label="LABEL_OPTIONAL", type="TYPE_INT64")
    message.options.Extensions[events_pb2.topic].CopyFrom(events_pb2.Topic(name="torn.v1", partitions=1, joined=True))
    pool = descriptor_pool.Default()
    pool.Add(file)
    torn = message_factory.GetMessageClass(pool.FindMessageTypeByName("torn.Torn"))
    with pytest.raises(TypeError, match=r"torn\.Torn has fields that cannot be joined"):
        topic_of(torn)


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_topics_are_named_after_it(service: str) -> None:
    topics = topics_of(service)
    assert topics
    assert all(name.startswith(f"{service}.") and name == topic.name for name, topic in topics.items())
    assert all(1 <= topic.partitions <= 2**15 for topic in topics.values())


def test_a_topic_carries_one_type_of_message() -> None:
    modules = [importlib.import_module(f"protos.{service}.v1.events_pb2") for service in SERVICES]
    names = [name for service in SERVICES for name in topics_of(service)]
    declared = [
        message for module in modules for message in module.DESCRIPTOR.message_types_by_name.values()
        if message.GetOptions().ListFields()
    ]  # fmt: skip
    assert len(set(names)) == len(declared)


@pytest.mark.parametrize(
    ("key", "partition"),
    [("", 1), ("rules", 0), ("01a1fc76-1f45-7245-9425-6632d8683749", 0), ("01a1fc76-1f45-7245-9425-6632d868374a", 1)],
)
def test_a_key_keeps_its_partition_for_ever(key: str, partition: int) -> None:
    assert partition_of(key, 4) == partition


@given(key=st.text(), partitions=st.integers(1, 64))
def test_every_key_has_a_partition(key: str, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_keys_spread_over_all_partitions() -> None:
    counts = [0] * 4
    for number in range(4000):
        counts[partition_of(str(number), 4)] += 1
    assert min(counts) > 800
