"""Fixtures that need the generated stubs, which the conftest above has made by now."""

from tests.support.events import events_dsn, mesh

__all__ = ["events_dsn", "mesh"]
