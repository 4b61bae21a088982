"""One database, and in it a schema and a role of its own for each service: no other service's role can read it."""

import asyncio

import asyncpg

from deploy.local.ports import SERVICES
from deploy.local.state import role_password

NAME = "creator"


def prepare(dsn: str, password: str) -> None:
    """Makes what is missing; `dsn` is the superuser's, on any database."""
    asyncio.run(_prepare(dsn, password))


async def _prepare(dsn: str, password: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NAME):
            await connection.execute(f"CREATE DATABASE {NAME}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(dsn, database=NAME)
    try:
        await connection.execute(f"REVOKE ALL ON DATABASE {NAME} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for service in SERVICES:
            await _give_schema(connection, service, role_password(password, service))
    finally:
        await connection.close()


async def _give_schema(connection: asyncpg.Connection, service: str, password: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", service):
        await connection.execute(f"CREATE ROLE {service} LOGIN")
    await connection.execute(
        f"ALTER ROLE {service} PASSWORD '{password}'; ALTER ROLE {service} SET search_path = {service};"
        f"GRANT CONNECT, TEMPORARY ON DATABASE {NAME} TO {service};"
        f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {service}"
    )
