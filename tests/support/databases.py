"""A fresh database per test: migrated once per service into a template, cloned in milliseconds."""

import itertools
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from libs.postgres import migrate

PROJECT = Path(__file__).resolve().parents[2]


class Databases:
    """Makes and drops databases of one test server."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._templates: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def dsn_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self._dsn)._replace(path=f"/{name}"))

    async def create(self, service: str | None) -> str:
        """Makes a database and returns its name: empty, or with the schema of `service`."""
        template = await self._template(service) if service else "template0"
        name = f"test_{next(self._numbers)}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return name

    async def drop(self, name: str) -> None:
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _template(self, service: str) -> str:
        if service not in self._templates:
            name = f"template_{service}"
            await self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
            await migrate(self.dsn_of(name), schema=service, directory=PROJECT / "services" / service / "migrations")
            self._templates[service] = name
        return self._templates[service]

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
