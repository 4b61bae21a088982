"""The same request gets the same answer, and takes effect once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.idempotency import RequestIdInvalid, RequestIdReused, remember, replay
from libs.postgres import Postgres, migrate
from protos.events.v1.events_pb2 import Head, ListHeadsRequest, ListHeadsResponse
from tests.support.events import NO_MIGRATIONS

METHOD = "creator.events.v1.EventLogService/ListHeads"
REQUEST = ListHeadsRequest(topic="a")


@pytest.fixture
async def postgres(empty_database: str) -> AsyncIterator[Postgres]:
    await migrate(empty_database, schema="sample", directory=NO_MIGRATIONS)
    async with await Postgres.open(empty_database, schema="sample") as opened:
        async with opened.connection() as connection:
            await connection.execute("CREATE TABLE effects (nr bigserial PRIMARY KEY)")
        yield opened


async def count(postgres: Postgres) -> int:
    async with postgres.connection() as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM effects")
    return found


async def command(
    postgres: Postgres,
    request_id: str = "r1",
    request: ListHeadsRequest = REQUEST,
    *,
    method: str = METHOD,
    key: bytes = b"",
    crash: bool = False,
) -> ListHeadsResponse:
    """Has an effect, and answers with a number that no other execution answers."""
    async with postgres.transaction() as connection:
        earlier = await replay(
            connection, request_id=request_id, method=method, request=request, response_type=ListHeadsResponse, key=key
        )
        if earlier is not None:
            return earlier
        number = await connection.fetchval("INSERT INTO effects DEFAULT VALUES RETURNING nr")
        response = ListHeadsResponse(heads=[Head(position=number)])
        await remember(connection, request_id=request_id, method=method, request=request, response=response, key=key)
        if crash:
            raise RuntimeError
    return response


async def test_the_same_request_gets_the_same_answer(postgres: Postgres) -> None:
    first = await command(postgres)
    assert [await command(postgres) for _ in range(3)] == [first] * 3
    assert await count(postgres) == 1


async def test_fifty_at_the_same_time_take_effect_once_and_are_answered_alike(postgres: Postgres) -> None:
    answers = await asyncio.gather(*(command(postgres) for _ in range(50)))
    assert answers == [answers[0]] * 50
    assert await count(postgres) == 1


async def test_other_content_under_the_same_id_is_refused(postgres: Postgres) -> None:
    await command(postgres)
    with pytest.raises(RequestIdReused) as refused:
        await command(postgres, request=ListHeadsRequest(topic="b"))
    assert refused.value.data == {"field": "request_id"}
    assert await count(postgres) == 1


async def test_a_crash_before_the_commit_leaves_the_id_free(postgres: Postgres) -> None:
    with pytest.raises(RuntimeError):
        await command(postgres, crash=True)
    assert await count(postgres) == 0
    await command(postgres, request=ListHeadsRequest(topic="b"))
    assert await count(postgres) == 1


async def test_who_waited_for_one_that_crashed_executes(postgres: Postgres) -> None:
    outcomes = await asyncio.gather(
        *(command(postgres, crash=number == 0) for number in range(5)), return_exceptions=True
    )
    answers = [each for each in outcomes if isinstance(each, ListHeadsResponse)]
    assert len(answers) >= 4
    assert answers == [answers[0]] * len(answers)
    assert await count(postgres) == 1


async def test_one_id_may_be_used_once_for_each_method(postgres: Postgres) -> None:
    assert await command(postgres) != await command(postgres, method="another")


@pytest.mark.parametrize("request_id", ["", "x" * 129, "naïve", "a\nb", "a\x00b"])
async def test_an_id_is_short_printable_ascii(postgres: Postgres, request_id: str) -> None:
    with pytest.raises(RequestIdInvalid):
        await command(postgres, request_id)
    assert await count(postgres) == 0


async def test_a_fingerprint_cannot_be_guessed_without_its_key(postgres: Postgres) -> None:
    await command(postgres, "plain")
    keyed = await command(postgres, "keyed", key=b"secret")
    assert await command(postgres, "keyed", key=b"secret") == keyed
    async with postgres.connection() as connection:
        assert await connection.fetchval("SELECT count(DISTINCT fingerprint) FROM idempotency") == 2
    with pytest.raises(RequestIdReused):
        await command(postgres, "keyed", key=b"another")


async def test_an_empty_answer_is_an_answer(postgres: Postgres) -> None:
    async with postgres.transaction() as connection:
        await remember(connection, request_id="r", method=METHOD, request=REQUEST, response=ListHeadsResponse())
        found = await replay(
            connection, request_id="r", method=METHOD, request=REQUEST, response_type=ListHeadsResponse
        )
    assert found == ListHeadsResponse()
