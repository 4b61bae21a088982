"""A servicer that is open in part."""

from typing import Any

import pytest

from libs.refusals import Code
from libs.rpc.unserved import NotServedYet, unserved
from protos.events.v1 import events_pb2, events_pb2_grpc


class HeadsOnly(events_pb2_grpc.EventLogServiceServicer):
    def __init__(self, answer: events_pb2.ListHeadsResponse) -> None:
        self._answer = answer

    async def ListHeads(  # noqa: N802 - the protocol's name
        self, request: events_pb2.ListHeadsRequest, context: Any
    ) -> events_pb2.ListHeadsResponse:
        return self._answer


async def test_what_a_class_answers_stays_and_the_rest_is_refused_with_the_sentence() -> None:
    answer = events_pb2.ListHeadsResponse()
    servicer = unserved(HeadsOnly, "Not open.")(answer)
    assert await servicer.ListHeads(events_pb2.ListHeadsRequest(), None) is answer
    with pytest.raises(NotServedYet) as refused:
        await servicer.ListEvents(events_pb2.ListEventsRequest(), None)
    assert (refused.value.code, refused.value.message) == (Code.UNIMPLEMENTED, "Not open.")


def test_the_class_itself_is_left_alone() -> None:
    before = dict(vars(events_pb2_grpc.EventLogServiceServicer))
    unserved(events_pb2_grpc.EventLogServiceServicer, "Not open.")
    assert dict(vars(events_pb2_grpc.EventLogServiceServicer)) == before
