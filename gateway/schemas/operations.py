from typing import Annotated, Literal

from msgspec import Meta

from gateway.schemas.wire import Reply

State = Literal["ready", "degraded", "down"]


class Alive(Reply):
    """The process answers."""

    state: Literal["alive"]


class Readiness(Reply):
    """What can be served. A dependency that is down takes away its own routes only."""

    state: Annotated[
        State,
        Meta(description="`down` (503): none of the services answers, or the process is about to stop."),
    ]
    dependencies: dict[str, Literal["up", "down"]]
