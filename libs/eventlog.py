"""The event log's door: whoever missed an event on the broker asks its publisher for it."""

from typing import Any

from grpc.aio import ServicerContext

from libs.outbox import Topic, list_events, topics_of
from libs.postgres import Postgres
from libs.refusals import InvalidArgument, NotFound
from protos.events.v1 import events_pb2, events_pb2_grpc

PAGE_DEFAULT = 500
PAGE_MAX = 1000


class TopicUnknown(NotFound):
    """This service publishes no such topic."""


class PageTooLarge(InvalidArgument):
    """At most 1000 events can be asked for at once."""


class PartitionUnknown(InvalidArgument):
    """The topic has no such partition."""


class EventLogServicer(events_pb2_grpc.EventLogServiceServicer):
    """Answers for the topics that the service of this schema publishes."""

    def __init__(self, postgres: Postgres, topics: dict[str, Topic] | None = None) -> None:
        self._postgres = postgres
        self._topics = topics_of(postgres.schema) if topics is None else topics

    async def ListEvents(
        self,
        request: events_pb2.ListEventsRequest,
        context: ServicerContext[Any, Any],
    ) -> events_pb2.ListEventsResponse:
        if request.partition >= self._partitions(request.topic):
            raise PartitionUnknown(field="partition")
        if request.page_size > PAGE_MAX:
            raise PageTooLarge(field="page_size")
        limit = request.page_size if request.page_size > 0 else PAGE_DEFAULT
        async with self._postgres.connection() as connection:
            events = await list_events(connection, request.topic, request.partition, request.after_position, limit)
        return events_pb2.ListEventsResponse(events=events)

    async def ListHeads(
        self,
        request: events_pb2.ListHeadsRequest,
        context: ServicerContext[Any, Any],
    ) -> events_pb2.ListHeadsResponse:
        partitions = self._partitions(request.topic)
        async with self._postgres.connection() as connection:
            rows = await connection.fetch("SELECT partition, position FROM event_heads WHERE topic = $1", request.topic)
        positions = {row["partition"]: row["position"] for row in rows}
        heads = [events_pb2.Head(partition=each, position=positions.get(each, 0)) for each in range(partitions)]
        return events_pb2.ListHeadsResponse(heads=heads)

    def _partitions(self, topic: str) -> int:
        if topic not in self._topics:
            raise TopicUnknown(topic=topic)
        return self._topics[topic].partitions
