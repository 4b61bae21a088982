"""The same request gets the same answer, once executed; another request under its id is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs import idempotency
from libs.idempotency import RequestIdInvalid, RequestIdReused
from libs.postgres import Connection, Postgres, migrate
from protos.events.v1.events_pb2 import Head, ListEventsRequest

METHOD = "/sample.v1.Sample/Count"


@pytest.fixture
async def postgres(empty_database: str, tmp_path: Path) -> AsyncIterator[Postgres]:
    await migrate(empty_database, schema="sample", directory=tmp_path)
    async with await Postgres.open(empty_database, schema="sample") as opened:
        async with opened.connection() as connection:
            await connection.execute("CREATE TABLE effects (nr bigserial PRIMARY KEY, topic text)")
        yield opened


def request(topic: str = "a") -> ListEventsRequest:
    return ListEventsRequest(topic=topic)


class Failure(Exception):
    pass


async def count(
    postgres: Postgres,
    request_id: str,
    asked: ListEventsRequest,
    *,
    method: str = METHOD,
    key: bytes = b"",
    fails: bool = False,
) -> Head:
    """A command: its answer is the number of its effect."""
    async with postgres.transaction() as connection:
        earlier = await idempotency.replay(
            connection, request_id=request_id, method=method, request=asked, response_type=Head, key=key
        )
        if earlier is not None:
            return earlier
        number = await effect(connection, asked)
        answer = Head(position=number)
        await idempotency.remember(
            connection, request_id=request_id, method=method, request=asked, response=answer, key=key
        )
        if fails:
            raise Failure
        return answer


async def effect(connection: Connection, asked: ListEventsRequest) -> int:
    number: int = await connection.fetchval("INSERT INTO effects (topic) VALUES ($1) RETURNING nr", asked.topic)
    return number


async def effects(postgres: Postgres) -> int:
    async with postgres.connection() as connection:
        number: int = await connection.fetchval("SELECT count(*) FROM effects")
    return number


async def test_a_request_asked_again_gets_its_answer_and_has_no_effect(postgres: Postgres) -> None:
    first = await count(postgres, "r1", request())
    assert await count(postgres, "r1", request()) == first
    assert await effects(postgres) == 1


async def test_an_empty_answer_is_an_answer(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        await idempotency.remember(connection, request_id="r1", method=METHOD, request=request(), response=Head())
    async with postgres.transaction() as connection:
        replayed = await idempotency.replay(
            connection, request_id="r1", method=METHOD, request=request(), response_type=Head
        )
    assert replayed == Head()


async def test_a_request_asked_many_times_at_once_is_executed_once(postgres: Postgres) -> None:
    answers = await asyncio.gather(*(count(postgres, "r1", request()) for _ in range(50)))
    assert len({answer.position for answer in answers}) == 1
    assert await effects(postgres) == 1


async def test_different_requests_do_not_wait_for_each_other(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        replay = idempotency.replay(connection, request_id="r1", method=METHOD, request=request(), response_type=Head)
        assert await replay is None
        async with asyncio.timeout(20):
            await count(postgres, "r2", request())
            await count(postgres, "r1", request(), method="/sample.v1.Sample/Other")


@pytest.mark.parametrize("other", [request("b"), ListEventsRequest(topic="a", partition=1), ListEventsRequest()])
async def test_an_id_used_for_another_request_is_refused(postgres: Postgres, other: ListEventsRequest) -> None:
    await count(postgres, "r1", request())
    with pytest.raises(RequestIdReused) as refused:
        await count(postgres, "r1", other)
    assert refused.value.data == {"field": "request_id"}
    assert await effects(postgres) == 1


async def test_of_different_requests_racing_for_an_id_one_is_executed(postgres: Postgres) -> None:
    topics = [f"t{number}" for number in range(20)]
    outcomes = await asyncio.gather(
        *(count(postgres, "r1", request(topic)) for topic in topics), return_exceptions=True
    )
    assert sum(isinstance(each, Head) for each in outcomes) == 1
    assert sum(isinstance(each, RequestIdReused) for each in outcomes) == 19
    assert await effects(postgres) == 1


async def test_a_field_that_this_release_does_not_know_counts_as_content(postgres: Postgres) -> None:
    await count(postgres, "r1", request())
    newer = ListEventsRequest.FromString(request().SerializeToString() + b"\xa2\x06\x01x")
    with pytest.raises(RequestIdReused):
        await count(postgres, "r1", newer)


async def test_an_id_belongs_to_its_method(postgres: Postgres) -> None:
    first = await count(postgres, "r1", request())
    assert await count(postgres, "r1", request(), method="/sample.v1.Sample/Other") != first


async def test_a_command_rolled_back_leaves_nothing(postgres: Postgres) -> None:
    with pytest.raises(Failure):
        await count(postgres, "r1", request(), fails=True)
    assert await effects(postgres) == 0
    await count(postgres, "r1", request("b"))
    assert await effects(postgres) == 1


async def test_who_waits_for_a_command_that_fails_is_executed(postgres: Postgres) -> None:
    outcomes = await asyncio.gather(
        *(count(postgres, "r1", request(), fails=number % 2 == 0) for number in range(20)), return_exceptions=True
    )
    answers = [each for each in outcomes if isinstance(each, Head)]
    assert len(answers) >= 10
    assert len({answer.position for answer in answers}) == 1
    assert all(isinstance(each, Head | Failure) for each in outcomes)
    assert await effects(postgres) == 1


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a\nb", "é", "a\0b"])
async def test_an_id_is_printable_and_short(postgres: Postgres, request_id: str) -> None:
    with pytest.raises(RequestIdInvalid):
        await count(postgres, request_id, request())


async def test_a_longest_id_with_every_sign_is_kept_apart_from_its_like(postgres: Postgres) -> None:
    signs = "".join(map(chr, range(32, 127)))
    for request_id in (signs, signs.upper(), "x" * 128, "X" * 128, "a ", "a", " a"):
        first = await count(postgres, request_id, request())
        assert await count(postgres, request_id, request()) == first
    assert await effects(postgres) == 7


async def test_a_fingerprint_cannot_be_guessed_back_without_its_key(postgres: Postgres) -> None:
    await count(postgres, "r1", request("person"), key=b"k1")
    await count(postgres, "r2", request("person"), key=b"k2")
    async with postgres.connection() as connection:
        rows = await connection.fetch("SELECT DISTINCT fingerprint FROM idempotency")
    assert len(rows) == 2
    with pytest.raises(RequestIdReused):
        await count(postgres, "r1", request("person"), key=b"k2")
