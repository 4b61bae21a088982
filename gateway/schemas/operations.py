from typing import Literal

from gateway.schemas.wire import Reply

State = Literal["ready", "degraded"]


class Alive(Reply):
    """The process answers."""

    state: Literal["alive"]


class Readiness(Reply):
    """What answers. A dependency that is down takes away its own routes only; 503 when no service is left."""

    state: State
    dependencies: dict[str, Literal["up", "down"]]
