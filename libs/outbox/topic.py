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
    joined: bool = False
    """Whether events that follow each other in a partition may become one."""


def topic_of(message_type: type[Message]) -> Topic:
    """The topic that a message type names in its proto.

    Raises TypeError where it names none, and where events would be joined that cannot be: put end to end, serialized
    messages are one that has the repeated fields of all of them, but of the others the last value alone.
    """
    message = message_type.DESCRIPTOR
    options = message.GetOptions()
    if not options.HasExtension(events_pb2.topic):
        raise TypeError(f"{message.full_name} names no topic")
    topic = options.Extensions[events_pb2.topic]
    if topic.joined and not all(field.is_repeated for field in message.fields):
        raise TypeError(f"{message.full_name} has fields that cannot be joined")
    return Topic(topic.name, topic.partitions, topic.joined)


def topics_of(schema: str) -> dict[str, Topic]:
    """Topics that a service publishes, by name: what its `protos/<schema>/v1/events.proto` declares."""
    module = importlib.import_module(f"protos.{schema}.v1.events_pb2")
    messages = (getattr(module, name) for name in module.DESCRIPTOR.message_types_by_name)
    topics = [topic_of(each) for each in messages if each.DESCRIPTOR.GetOptions().HasExtension(events_pb2.topic)]
    return {topic.name: topic for topic in topics}


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process, for ever."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") % partitions
