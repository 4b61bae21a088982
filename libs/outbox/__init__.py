"""Events, from the transaction that makes them true to the broker: outbox, relay, event log.

A command appends to `outbox`. The relay, one leader per service, moves committed rows into `events`, gives each a
gapless position within its (topic, partition), and publishes in that order. `events` is kept: whoever missed something
on the broker asks for it with ListEvents.
"""

from libs.outbox.entry import (
    OUTBOX_ROWS,
    TELLING_WRITTEN,
    Entry,
    append,
    append_many,
    append_to,
    outbox_columns,
    telling,
)
from libs.outbox.log import list_events
from libs.outbox.relay import Moved, Publisher, Record, Relay, move
from libs.outbox.topic import Topic, partition_of, topic_of, topics_of

__all__ = [
    "OUTBOX_ROWS",
    "TELLING_WRITTEN",
    "Entry",
    "Moved",
    "Publisher",
    "Record",
    "Relay",
    "Topic",
    "append",
    "append_many",
    "append_to",
    "list_events",
    "move",
    "outbox_columns",
    "partition_of",
    "telling",
    "topic_of",
    "topics_of",
]
