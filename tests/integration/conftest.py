"""Fixtures that need the generated stubs, which the conftest above has made by now."""

from tests.support.events import events_dsn, mesh
from tests.support.integrator import integrator
from tests.support.leaderboard import leaderboard

__all__ = ["events_dsn", "integrator", "leaderboard", "mesh"]
