"""Calls that the protocol has and this version does not answer yet: refused with a reason, never faked."""

from collections.abc import Callable
from typing import Any, Final, NoReturn

from libs.refusals import Code, Refusal

_GENERATED: Final = "_pb2_grpc"


class _Unimplemented(Refusal, code=Code.UNIMPLEMENTED):
    """Not in this version."""


class NotServedYet(_Unimplemented):
    """This version does not answer this call yet."""


def unserved(servicer: type, message: str) -> Callable[..., Any]:
    """Return a subclass that refuses, with this sentence, whatever the class does not answer itself.

    The methods that grpc generates for that are not async, so the door would not take them as they are.
    """

    async def refuse(_self: object, _request: Any, _context: Any) -> NoReturn:
        raise NotServedYet(message)

    generated = (base for base in servicer.__mro__ if base.__module__.endswith(_GENERATED))
    names = {name for base in generated for name, method in vars(base).items() if getattr(servicer, name) is method}
    methods = {name: refuse for name in names if not name.startswith("_")}
    return type(servicer.__name__, (servicer,), methods)
