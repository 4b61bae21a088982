"""Saying no with a reason.

Refusal
├── InvalidArgument       never valid
├── FailedPrecondition    not in this state
├── NotFound              no such thing, or not yours
├── AlreadyExists
├── PermissionDenied
├── Unauthenticated
├── ResourceExhausted     a limit
├── Aborted               a conflict: retry the whole
└── Unavailable           retry this call

The kinds are abstract. A concrete refusal is a fact, and its docstring is its message:

    class CodeUnknown(NotFound):
        \"\"\"No such referral code.\"\"\"

Raised as `CodeUnknown()`, or with more to say: `CodeExpired(code=code)`, `InvalidCharge("…", field="revenue_micro")`.
"""

import re
from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """The numbers of google.rpc.Code, without OK."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]")
_reasons: dict[str, type["Refusal"]] = {}


class Refusal(Exception):
    """An expected no. `reason` is for programs, `message` for people, `data` is what the message is about."""

    code: ClassVar[Code]
    reason: ClassVar[str]
    message: str
    data: dict[str, str]

    def __init_subclass__(cls, *, code: Code | None = None) -> None:
        """Make a kind where a code is given, else a concrete refusal with a reason of its own."""
        super().__init_subclass__()
        if code is not None:
            cls.code = code
            return
        if "reason" not in cls.__dict__:
            cls.reason = _WORD_START.sub("_", cls.__name__).upper()
        _register(cls)

    def __init__(self, message: str | None = None, **data: object) -> None:
        """Take the docstring's first line as the message unless one is given; data that is None is left out."""
        cls = type(self)
        if "reason" not in vars(cls):
            raise TypeError(f"{cls.__name__} is a kind of refusal; raise one that names the fact")
        self.message = message or (cls.__doc__ or cls.reason).strip().splitlines()[0]
        self.data = {key: str(value) for key, value in data.items() if value is not None}
        super().__init__(self.message)


def _register(cls: type[Refusal]) -> None:
    if not _REASON.fullmatch(cls.reason):
        raise TypeError(f"{cls.__qualname__}: {cls.reason!r} is not an UPPER_SNAKE reason of at most 63 characters")
    if not hasattr(cls, "code"):
        raise TypeError(f"{cls.__qualname__} has no kind, so no code")
    other = _reasons.get(cls.reason)
    # The same class again is a module loaded twice, not two facts with one name.
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(f"{cls.reason} is the reason of {other.__module__}.{other.__qualname__} already")
    _reasons[cls.reason] = cls


def reasons() -> dict[str, type[Refusal]]:
    """Every concrete refusal known to this process, by reason."""
    return dict(_reasons)


class InvalidArgument(Refusal, code=Code.INVALID_ARGUMENT):
    """Never valid, whatever the state."""


class FailedPrecondition(Refusal, code=Code.FAILED_PRECONDITION):
    """Not in this state."""


class NotFound(Refusal, code=Code.NOT_FOUND):
    """No such thing, or not yours."""


class AlreadyExists(Refusal, code=Code.ALREADY_EXISTS):
    """There is one already."""


class PermissionDenied(Refusal, code=Code.PERMISSION_DENIED):
    """Known, but not allowed."""


class Unauthenticated(Refusal, code=Code.UNAUTHENTICATED):
    """Not known."""


class ResourceExhausted(Refusal, code=Code.RESOURCE_EXHAUSTED):
    """A limit is reached."""


class Aborted(Refusal, code=Code.ABORTED):
    """A conflict: retry the whole."""


class Unavailable(Refusal, code=Code.UNAVAILABLE):
    """Not now: retry this call."""
