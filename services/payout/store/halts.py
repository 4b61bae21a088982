"""Whether payouts are handed to the provider at all."""

from datetime import datetime

from libs.postgres import Connection


async def read(connection: Connection) -> str:
    """Why nothing is handed over; empty where nothing keeps it."""
    found: str | None = await connection.fetchval("SELECT reason FROM provider_halts")
    return found or ""


async def set_halt(connection: Connection, reason: str, now: datetime) -> None:
    """Nothing is handed over from now on. The first reason stays."""
    await connection.execute(
        "INSERT INTO provider_halts (reason, halted_at) VALUES ($1, $2) ON CONFLICT DO NOTHING", reason, now
    )
