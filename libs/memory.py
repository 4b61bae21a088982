"""The garbage collector of a process that lives long."""

import gc
from typing import Final

# A request makes some hundred objects that live as long as it does: looking for cycles among them at the usual 700 is
# work for nothing.
_THRESHOLD: Final = 20_000


def settle() -> None:
    """To be called when all is built that stays: no later collection walks through that again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD)
