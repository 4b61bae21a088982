"""Test mode alone: tokens for anybody, and a clock to move."""

from datetime import timedelta
from http import HTTPStatus

from gateway.problems import BodyInvalid
from gateway.room import Room, TestMode
from gateway.route import Access, Call, Limited, Route
from gateway.schemas.development import Advance, AskToken, DevToken, Now
from gateway.schemas.problem import FieldProblem
from gateway.tokens import created


async def make_token(call: Call[AskToken, None]) -> DevToken:
    asked, test_mode = call.body, _test_mode(call.room)
    try:
        made = created(asked.account_created_at) or test_mode.clock.now()
    except ValueError:
        wrong = FieldProblem(pointer="#/account_created_at", detail="RFC 3339 with an offset, or epoch seconds.")
        raise BodyInvalid(errors=(wrong,)) from None
    return DevToken(token=test_mode.minter.mint(asked.account_id, asked.scope, made))


async def advance_clock(call: Call[Advance, None]) -> Now:
    clock = _test_mode(call.room).clock
    try:
        clock.advance(timedelta(seconds=call.body.seconds))
    except ValueError as error:
        wrong = FieldProblem(pointer="#/seconds", detail=str(error).capitalize() + ".")
        raise BodyInvalid(errors=(wrong,)) from None
    return Now(now=clock.now())


async def get_clock(call: Call[None, None]) -> Now:
    return Now(now=_test_mode(call.room).clock.now())


def _test_mode(room: Room) -> TestMode:
    test_mode = room.test_mode
    assert test_mode is not None  # noqa: S101 - these routes exist in test mode alone
    return test_mode


ROUTES = (
    Route(
        method="POST",
        path="/dev/token",
        name="devToken",
        summary="A token for any account. Test mode only.",
        tag="Test mode",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=make_token,
        body=AskToken,
        answers={HTTPStatus.OK: DevToken},
        upstream=False,
    ),
    Route(
        method="POST",
        path="/dev/clock/advance",
        name="devAdvanceClock",
        summary="Moves the clock of all processes at once. Test mode only.",
        tag="Test mode",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=advance_clock,
        body=Advance,
        answers={HTTPStatus.OK: Now},
        upstream=False,
    ),
    Route(
        method="GET",
        path="/dev/clock",
        name="devClock",
        summary="What time the stack takes it to be. Test mode only.",
        tag="Test mode",
        access=Access.PUBLIC,
        limited=Limited.NOT,
        handler=get_clock,
        answers={HTTPStatus.OK: Now},
        upstream=False,
    ),
)
