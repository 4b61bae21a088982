import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from libs.postgres import FAULTS, MigrationMismatch, Postgres, Timeouts, is_fault, migrate, retried, violated
from tests.support.events import Eventually

Files = dict[str, str]


def written(directory: Path, files: Files) -> Path:
    directory.mkdir(exist_ok=True)
    for name, sql in files.items():
        (directory / name).write_text(sql)
    return directory


async def value(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.fixture
async def postgres(empty_database: str, tmp_path: Path) -> AsyncIterator[Postgres]:
    await migrate(
        empty_database,
        schema="sample",
        directory=written(
            tmp_path / "sample",
            {
                "0001_rows.sql": """
                CREATE TABLE rows (
                    id int PRIMARY KEY, amount int NOT NULL CONSTRAINT rows_never_negative CHECK (amount >= 0)
                )
                """
            },
        ),
    )
    async with await Postgres.open(empty_database, schema="sample", pool_max=4) as opened:
        yield opened


async def put(postgres: Postgres, row: int, amount: int) -> None:
    async with postgres.transaction() as connection:
        await connection.execute("INSERT INTO rows VALUES ($1, $2)", row, amount)


async def amount(postgres: Postgres, row: int) -> int | None:
    async with postgres.connection() as connection:
        found: int | None = await connection.fetchval("SELECT amount FROM rows WHERE id = $1", row)
    return found


class TestMigrations:
    async def test_eight_replicas_that_start_at_once_apply_each_file_once(
        self, empty_database: str, tmp_path: Path
    ) -> None:
        files = {
            "0001_one.sql": "CREATE TABLE one (id int); INSERT INTO one VALUES (1)",
            "0002_two.sql": "INSERT INTO one VALUES (2)",
        }
        directory = written(tmp_path, files)
        await asyncio.gather(*(migrate(empty_database, schema="sample", directory=directory) for _ in range(8)))
        assert await value(empty_database, "SELECT array_agg(id ORDER BY id) FROM sample.one") == [1, 2]

    async def test_two_schemas_of_one_database_migrate_side_by_side(self, empty_database: str, tmp_path: Path) -> None:
        directory = written(tmp_path, {"0001_one.sql": "CREATE TABLE one (id int)"})
        await asyncio.gather(*(migrate(empty_database, schema=name, directory=directory) for name in ("a", "b", "c")))
        assert await value(empty_database, "SELECT count(*) FROM pg_tables WHERE tablename = 'one'") == 3

    async def test_files_are_applied_in_the_order_of_their_numbers(self, empty_database: str, tmp_path: Path) -> None:
        files = {
            "0002_b.sql": "ALTER TABLE t ADD b int",
            "0010_c.sql": "ALTER TABLE t ADD c int",
            "0001_a.sql": "CREATE TABLE t ()",
        }
        await migrate(empty_database, schema="sample", directory=written(tmp_path, files))
        columns = "SELECT string_agg(column_name, '' ORDER BY ordinal_position) FROM information_schema.columns"
        assert await value(empty_database, f"{columns} WHERE table_name = 't'") == "bc"

    async def test_the_plumbing_is_there_before_a_services_own_files(self, empty_database: str, tmp_path: Path) -> None:
        files = {"0001_view.sql": "CREATE VIEW waiting AS SELECT count(*) FROM outbox"}
        await migrate(empty_database, schema="sample", directory=written(tmp_path, files))
        assert await value(empty_database, "SELECT * FROM sample.waiting") == 0

    async def test_a_file_that_changed_after_it_was_applied_is_refused(
        self, empty_database: str, tmp_path: Path
    ) -> None:
        await migrate(empty_database, schema="sample", directory=written(tmp_path, {"0001_a.sql": "SELECT 1"}))
        with pytest.raises(MigrationMismatch, match=r"sample/0001_a\.sql has changed"):
            await migrate(empty_database, schema="sample", directory=written(tmp_path, {"0001_a.sql": "SELECT 2"}))

    async def test_a_file_that_vanished_is_refused(self, empty_database: str, tmp_path: Path) -> None:
        files = {"0001_a.sql": "SELECT 1", "0002_b.sql": "SELECT 1"}
        directory = written(tmp_path, files)
        await migrate(empty_database, schema="sample", directory=directory)
        (directory / "0001_a.sql").unlink()
        with pytest.raises(MigrationMismatch, match=r"sample/0001_a\.sql was applied"):
            await migrate(empty_database, schema="sample", directory=directory)

    async def test_an_older_release_starts_on_a_newer_schema(self, empty_database: str, tmp_path: Path) -> None:
        directory = written(tmp_path, {"0001_a.sql": "SELECT 1", "0002_b.sql": "SELECT 1"})
        await migrate(empty_database, schema="sample", directory=directory)
        (directory / "0002_b.sql").unlink()
        await migrate(empty_database, schema="sample", directory=directory)

    async def test_a_file_that_fails_leaves_nothing_and_is_applied_at_the_next_start(
        self, empty_database: str, tmp_path: Path
    ) -> None:
        broken = {"0001_a.sql": "CREATE TABLE a ()", "0002_b.sql": "CREATE TABLE b (); SELECT 1 / 0"}
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(empty_database, schema="sample", directory=written(tmp_path, broken))
        assert await value(empty_database, "SELECT to_regclass('sample.a') IS NOT NULL")
        assert await value(empty_database, "SELECT to_regclass('sample.b') IS NULL")
        await migrate(empty_database, schema="sample", directory=written(tmp_path, {"0002_b.sql": "CREATE TABLE b ()"}))
        assert await value(empty_database, "SELECT to_regclass('sample.b') IS NOT NULL")

    async def test_a_file_without_a_number_is_refused(self, empty_database: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"not second\.sql"):
            await migrate(empty_database, schema="sample", directory=written(tmp_path, {"second.sql": "SELECT 1"}))

    @pytest.mark.parametrize("schema", ["", "Sample", 'a"b', "1st", "a b", "x" * 64])
    async def test_a_schemas_name_is_plain(self, empty_database: str, tmp_path: Path, schema: str) -> None:
        with pytest.raises(ValueError, match="no name for a schema"):
            await migrate(empty_database, schema=schema, directory=tmp_path)

    async def test_a_login_that_may_not_make_schemas_migrates_the_one_it_owns(
        self, empty_database: str, tmp_path: Path
    ) -> None:
        connection = await asyncpg.connect(empty_database)
        await connection.execute(
            "CREATE ROLE modest LOGIN PASSWORD 'modest'; CREATE SCHEMA sample AUTHORIZATION modest"
        )
        await connection.close()
        modest = urlsplit(empty_database)
        modest = modest._replace(netloc=f"modest:modest@{modest.hostname}:{modest.port}")
        await migrate(urlunsplit(modest), schema="sample", directory=tmp_path)
        assert await value(empty_database, "SELECT to_regclass('sample.outbox') IS NOT NULL")
        for sql in ("DROP SCHEMA sample CASCADE", "DROP ROLE modest"):
            await value(empty_database, sql)


class TestSessions:
    async def test_a_service_sees_its_own_schema_and_no_other(self, postgres: Postgres, empty_database: str) -> None:
        await value(empty_database, "CREATE TABLE public.secret (id int)")
        async with postgres.connection() as connection:
            assert await connection.fetchval("SHOW search_path") == "sample"
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("SELECT * FROM secret")

    async def test_a_dedicated_connection_is_set_up_as_the_pools_are(self, postgres: Postgres) -> None:
        connection = await postgres.dedicated()
        names = ("search_path", "application_name", "statement_timeout", "lock_timeout", "tcp_keepalives_idle")
        shown = {name: await connection.fetchval(f"SHOW {name}") for name in names}
        await connection.close()
        async with postgres.connection() as pooled:
            assert shown == {name: await pooled.fetchval(f"SHOW {name}") for name in names}
        assert shown["statement_timeout"] == "30s"
        assert shown["application_name"] == "sample"

    async def test_a_failing_transaction_leaves_nothing(self, postgres: Postgres) -> None:
        async def fail() -> None:
            async with postgres.transaction() as connection:
                await connection.execute("INSERT INTO rows VALUES (1, 1)")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        assert await amount(postgres, 1) is None

    async def test_a_readonly_transaction_is_a_snapshot_and_writes_nothing(self, postgres: Postgres) -> None:
        async with postgres.transaction(readonly=True) as connection:
            assert await connection.fetchval("SELECT count(*) FROM rows") == 0
            await put(postgres, 1, 1)
            assert await connection.fetchval("SELECT count(*) FROM rows") == 0
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("INSERT INTO rows VALUES (2, 2)")

    async def test_a_violated_constraint_is_known_by_name(self, postgres: Postgres) -> None:
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await put(postgres, 1, -1)
        assert violated(refused.value) == "rows_never_negative"
        await put(postgres, 1, 1)
        with pytest.raises(asyncpg.UniqueViolationError) as taken:
            await put(postgres, 1, 1)
        assert violated(taken.value) == "rows_pkey"


class TestFaults:
    async def test_a_slow_statement_is_a_fault(self, empty_database: str) -> None:
        hasty = Timeouts(statement=0.05)
        async with await Postgres.open(empty_database, schema="public", timeouts=hasty) as postgres:
            with pytest.raises(FAULTS) as slow:
                async with postgres.connection() as connection:
                    await connection.execute("SELECT pg_sleep(10)")
        assert is_fault(slow.value)

    async def test_a_lock_that_is_not_given_up_is_a_fault(self, postgres: Postgres, empty_database: str) -> None:
        await put(postgres, 1, 1)
        async with (
            await Postgres.open(empty_database, schema="sample", timeouts=Timeouts(lock=0.05)) as hasty,
            postgres.transaction() as connection,
        ):
            await connection.execute("UPDATE rows SET amount = 2")
            with pytest.raises(FAULTS) as waited:
                async with hasty.transaction() as other:
                    await other.execute("UPDATE rows SET amount = 3")
        assert is_fault(waited.value)

    async def test_a_session_that_the_server_ends_is_a_fault_and_the_pool_goes_on(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        async with postgres.connection() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await value(empty_database, f"SELECT pg_terminate_backend({pid})")
            with pytest.raises(FAULTS) as ended:
                await connection.execute("SELECT 1")
        assert is_fault(ended.value)
        await put(postgres, 1, 1)

    async def test_a_value_that_cannot_be_encoded_is_no_fault(self, postgres: Postgres) -> None:
        with pytest.raises(asyncpg.DataError) as wrong:
            async with postgres.connection() as connection:
                await connection.fetchval("SELECT $1::int", "seven")
        assert not is_fault(wrong.value)

    async def test_a_server_that_is_not_there_is_a_fault(self) -> None:
        with pytest.raises(FAULTS):
            await Postgres.open("postgresql://nobody@127.0.0.1:1/none", schema="sample")


class TestRetried:
    async def test_a_deadlock_ends_with_both_commands_done(self, postgres: Postgres) -> None:
        await put(postgres, 1, 0)
        await put(postgres, 2, 0)
        both_hold_one = asyncio.Barrier(2)
        tries = 0

        @retried
        async def add(first: int, second: int) -> None:
            nonlocal tries
            tries += 1
            first_time = tries <= 2
            async with postgres.transaction() as connection:
                await connection.execute("UPDATE rows SET amount = amount + 1 WHERE id = $1", first)
                if first_time:
                    await both_hold_one.wait()
                await connection.execute("UPDATE rows SET amount = amount + 1 WHERE id = $1", second)

        await asyncio.gather(add(1, 2), add(2, 1))
        assert (await amount(postgres, 1), await amount(postgres, 2), tries) == (2, 2, 3)

    async def test_a_conflict_that_never_ends_surfaces_after_five_tries(self) -> None:
        tries = 0

        @retried
        async def command() -> None:
            nonlocal tries
            tries += 1
            raise asyncpg.SerializationError

        with pytest.raises(asyncpg.SerializationError):
            await command()
        assert tries == 5

    async def test_a_connection_lost_in_the_middle_is_not_tried_again(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        tries = 0

        @retried
        async def command() -> None:
            nonlocal tries
            tries += 1
            async with postgres.transaction() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                await connection.execute("INSERT INTO rows VALUES (1, 1)")
                await value(empty_database, f"SELECT pg_terminate_backend({pid})")

        with pytest.raises(FAULTS):
            await command()
        assert tries == 1

    async def test_a_plan_made_stale_by_another_replicas_migration_is_made_anew(
        self, postgres: Postgres, empty_database: str
    ) -> None:
        await put(postgres, 1, 7)

        @retried
        async def read() -> int:
            async with postgres.transaction() as connection:
                row = await connection.fetchrow("SELECT * FROM rows WHERE id = 1")
            assert row is not None
            amount: int = row["amount"]
            return amount

        assert await read() == 7
        await value(empty_database, "ALTER TABLE sample.rows ADD note text")
        assert await read() == 7

    async def test_closing_waits_for_who_is_busy(self, empty_database: str, eventually: Eventually) -> None:
        postgres = await Postgres.open(empty_database, schema="public")
        began = asyncio.Event()

        async def work() -> int:
            async with postgres.connection() as connection:
                began.set()
                found: int = await connection.fetchval("SELECT 1 FROM pg_sleep(0.1)")
                return found

        task = asyncio.create_task(work())
        await began.wait()
        await postgres.close()
        assert await task == 1
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'public'"

        async def gone() -> bool:
            return await value(empty_database, others) == 0

        await eventually(gone)
