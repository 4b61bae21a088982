"""What the payment provider is told."""

from gateway.schemas.wire import Reply


class Received(Reply):
    """The callback is stored; `replayed` where the same had come before."""

    callback_id: str
    replayed: bool
