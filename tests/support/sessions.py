"""Ending sessions of the database from outside, as a crash or a restart does."""

import asyncpg

_LEADER = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_locks
    WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_EVERYONE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def kill_leader(dsn: str) -> int:
    """Ends the session that holds the lead, as the kernel does for a killed process; how many there were."""
    return await _value(dsn, _LEADER)


async def kill_everyone(dsn: str) -> int:
    """Ends every session, as a restart of the server does; how many there were."""
    return await _value(dsn, _EVERYONE)


async def _value(dsn: str, query: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        value: int = await connection.fetchval(query)
    finally:
        await connection.close()
    return value
