"""A service's own copy of surrogates, kept by many at once."""

import asyncio
import uuid

import pytest

from libs import surrogates
from libs.postgres import Postgres, retried
from tests.conftest import Database

ACCOUNTS, KEEPERS = 50, 8


@pytest.mark.parametrize("schema", ["payout", "score"])
async def test_whoever_keeps_an_account_at_the_same_time_as_another_is_told_no_error(
    database: Database, schema: str
) -> None:
    async with await Postgres.open(await database(schema), schema=schema, pool_max=KEEPERS) as postgres:

        @retried
        async def keep(account_id: str, account_ref: uuid.UUID) -> None:
            async with postgres.connection() as connection:
                await surrogates.keep(connection, account_id, account_ref)

        for number in range(ACCOUNTS):
            ref = uuid.uuid4()
            await asyncio.gather(*(keep(f"a{number}", ref) for _ in range(KEEPERS)))
            async with postgres.connection() as connection:
                assert await surrogates.find(connection, f"a{number}") == ref


async def test_an_account_that_came_again_has_another_surrogate(database: Database) -> None:
    async with await Postgres.open(await database("score"), schema="score") as postgres:
        former, now = uuid.uuid4(), uuid.uuid4()
        async with postgres.connection() as connection:
            await surrogates.keep(connection, "a", former)
            await surrogates.keep(connection, "a", now)
            assert await surrogates.find(connection, "a") == now
