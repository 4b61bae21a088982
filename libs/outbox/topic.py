"""Which topic a message goes to, and which partition a key."""

import hashlib
import importlib
from typing import NamedTuple

from google.protobuf.message import Message

from protos.events.v1 import events_pb2


class Topic(NamedTuple):
    """Where messages of one type go."""

    name: str
    partitions: int


def topic_of(message_type: type[Message]) -> Topic:
    """The topic that a message type names in its proto; raises TypeError where it names none."""
    options = message_type.DESCRIPTOR.GetOptions()
    if not options.HasExtension(events_pb2.topic):
        raise TypeError(f"{message_type.DESCRIPTOR.full_name} names no topic")
    topic = options.Extensions[events_pb2.topic]
    return Topic(topic.name, topic.partitions)


def topics_of(schema: str) -> dict[str, Topic]:
    """Topics that a service publishes, by name: what its `protos/<schema>/v1/events.proto` declares."""
    module = importlib.import_module(f"protos.{schema}.v1.events_pb2")
    messages = (getattr(module, name) for name in module.DESCRIPTOR.message_types_by_name)
    topics = [topic_of(each) for each in messages if each.DESCRIPTOR.GetOptions().HasExtension(events_pb2.topic)]
    return {topic.name: topic for topic in topics}


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process, for ever."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % partitions
