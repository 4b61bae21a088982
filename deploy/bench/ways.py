"""The same rows by simpler ways, without any RPC: told as one line of JSON.

`statements`: a transaction for each charge, its statements one by one. `function`: a PL/pgSQL function for each charge.
`unnest`, `copy`: the same rows into a bare table with nothing but its primary key.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import uvloop

from deploy.bench.charges import CREATORS, PAYERS_MAX, REFERRED_EACH, charges
from libs import outbox
from libs.ids import new_id
from libs.postgres import Postgres
from services.distribution.commands.reading import read_charge
from services.distribution.model import Attribution, Charge
from services.distribution.store import accounts, journal, revenue
from services.distribution.writer import posting
from services.distribution.writer.session import Session
from services.distribution.writer.ticket import Ticket

_ROWS_EACH = 512
_CONNECTIONS = 16
_FINGERPRINT = b"sixteen bytes it"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_REFS = [str(new_id()) for _ in range(PAYERS_MAX + CREATORS)]

_COLUMNS = {
    "distribution_id": "uuid",
    "payer_ref": "uuid",
    "referrer_ref": "uuid",
    "revenue_micro": "bigint",
    "promotional_micro": "bigint",
    "provider_cost_micro": "bigint",
    "referrer_micro": "bigint",
    "commons_micro": "bigint",
    "community_micro": "bigint",
    "foundation_micro": "bigint",
    "finalized_at": "timestamptz",
    "rule_version": "integer",
    "referrer_outcome": "smallint",
    "inference_charge_id": "text",
    "community_id": "text",
    "model": "text",
    "model_tier": "text",
    "fingerprint": "bytea",
    "model_breakdown": "jsonb",
    "funding": "jsonb",
    "recorded_at": "timestamptz",
}
_NAMES = ", ".join(_COLUMNS)
_PLACES = ", ".join(f"${place}" for place in range(1, len(_COLUMNS) + 1))
_ARRAYS = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(_COLUMNS.values(), start=1))
_INSERT = f"INSERT INTO distributions ({_NAMES}) VALUES ({_PLACES})"  # noqa: S608 - constants
_UNNEST = f"INSERT INTO bare ({_NAMES}) SELECT * FROM unnest({_ARRAYS})"  # noqa: S608 - constants
_BARE = """
    DROP TABLE IF EXISTS bare;
    CREATE TABLE bare (LIKE distributions);
    ALTER TABLE bare ADD PRIMARY KEY (inference_charge_id);
    """
_LOCK = "SELECT account_id FROM accounts WHERE account_id = ANY ($1) ORDER BY account_id FOR NO KEY UPDATE"
_ADD = "UPDATE accounts SET balance_micro = balance_micro + $2 WHERE account_id = $1"


def _tickets(ahead_seconds: float) -> Iterator[Ticket]:
    for number, request in enumerate(charges("time-ordered", ahead_seconds)):
        charge = read_charge(request)
        if isinstance(charge, Charge):
            ticket = Ticket(charge, _FINGERPRINT, str(new_id()), lambda _: None, 0.0)
            ticket.attribution = _attribution(number)
            yield ticket


def _attribution(number: int) -> Attribution:
    payer = number % PAYERS_MAX
    referrer = _REFS[PAYERS_MAX + payer // REFERRED_EACH % CREATORS] if payer % REFERRED_EACH == 0 else None
    return Attribution(_REFS[payer], referrer, _LONG_AGO, _LONG_AGO + timedelta(days=36_500))


async def _each(postgres: Postgres, options: argparse.Namespace) -> dict[str, float]:
    """Each charge a transaction of its own, by callers that all want the same hot rows."""
    tickets = _tickets(options.ahead)
    sessions = [await Session.open(postgres) for _ in range(_CONNECTIONS)]
    connections = [await postgres.dedicated() for _ in range(_CONNECTIONS)]
    by_function = options.way == "function"
    steps = [
        _by_function(session) if by_function else await _by_statements(connection)
        for session, connection in zip(sessions, connections, strict=True)
    ]
    began = time.monotonic()

    async def write(step: Step) -> int:
        written = 0
        while time.monotonic() < began + options.seconds:
            await step(next(tickets))
            written += 1
        return written

    async with asyncio.TaskGroup() as tasks:
        writers = [tasks.create_task(write(step)) for step in steps]
    written = sum(writer.result() for writer in writers)
    spent = time.monotonic() - began
    for session, connection in zip(sessions, connections, strict=True):
        session.cut()
        connection.terminate()
    return {"rate": written / spent, "written": written}


Step = Callable[[Ticket], Awaitable[object]]


def _by_function(session: Session) -> Step:
    return lambda ticket: session.write([ticket], ticket.charge.finalized_at)


async def _by_statements(connection: asyncpg.Connection) -> Step:
    """As such a thing is written at first: look the charge up, insert it, lock and move its accounts, tell of it."""
    _, revenue_rules = await revenue.load(connection)
    known: dict[str, int] = {}

    async def step(ticket: Ticket) -> None:
        rows = posting.rows([ticket], revenue_rules)
        amounts = posting.Amounts(rows)
        if missing := {name: kind for name, kind in amounts.kinds.items() if name not in known}:
            known.update(await accounts.open_accounts(connection, missing))
        micro = {known[name]: amount_micro for name, amount_micro in amounts.micro.items()}
        async with connection.transaction():
            await journal.find_posted(connection, [ticket.charge.inference_charge_id])
            await connection.execute(_INSERT, *journal._values(rows[0]), ticket.charge.finalized_at)  # noqa: SLF001
            await connection.fetch(_LOCK, sorted(micro))
            await connection.executemany(_ADD, sorted(micro.items()))
            await outbox.append_many(connection, posting.events(rows), occurred_at=ticket.charge.finalized_at)

    return step


Write = Callable[[asyncpg.Connection, Sequence[tuple[object, ...]]], Awaitable[object]]


async def _bare(postgres: Postgres, options: argparse.Namespace, write: Write) -> dict[str, float]:
    """Rows into a bare table, a transaction for each 512. Making them is not counted."""
    connection = await postgres.dedicated()
    try:
        await connection.execute(_BARE)
        _, revenue_rules = await revenue.load(connection)
        tickets = _tickets(options.ahead)
        written, spent = 0, 0.0
        while spent < options.seconds:
            made = posting.rows(itertools.islice(tickets, _ROWS_EACH), revenue_rules)
            rows = [(*journal._values(row), row.charge.finalized_at) for row in made]  # noqa: SLF001
            began = time.monotonic()
            await write(connection, rows)
            spent += time.monotonic() - began
            written += len(rows)
        await connection.execute("DROP TABLE bare")
        return {"rate": written / spent, "written": 0}
    finally:
        await connection.close()


async def _unnest(connection: asyncpg.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    await connection.execute(_UNNEST, *zip(*rows, strict=True))


async def _copy(connection: asyncpg.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    await connection.copy_records_to_table("bare", records=rows, columns=list(_COLUMNS))


async def _run(options: argparse.Namespace) -> dict[str, float]:
    async with await Postgres.open(options.dsn, schema="distribution", pool_max=1) as postgres:
        if options.way in {"statements", "function"}:
            return await _each(postgres, options)
        return await _bare(postgres, options, _unnest if options.way == "unnest" else _copy)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("way", choices=("statements", "function", "unnest", "copy"))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--ahead", type=float, default=0)
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
